"""Any server serves any request: what went in through one comes out of all, at once."""

import http.client
from itertools import pairwise
from pathlib import Path

import pytest

from tests import images
from tests.functional.cluster.nodes import Cluster
from tests.functional.docker import Docker
from tests.functional.skopeo import Skopeo
from tests.functional.wire import Wire
from tests.images import Image, Layout, sha256_of

MIB = 1024 * 1024


def test_docker_pushes_through_one_server_and_pulls_through_others(
    four: Cluster, plain_docker: Docker, perl: Image, tmp_path: Path
) -> None:
    names = [f"{node.address}/admin/perl:5" for node in four.nodes]
    plain_docker.load(perl, names[0], tmp_path / "layout")
    for node in four.nodes:
        plain_docker.login(node.address, node.admin_account)
    pushed = plain_docker.inspect(names[0])
    plain_docker("push", names[0])
    for name in names[2:]:
        plain_docker.forget_images()
        plain_docker("pull", name)
        assert plain_docker.inspect(name)["Id"] == pushed["Id"]
        assert plain_docker.run(name) == "hello from perl\n"


def test_docker_pulls_while_a_server_dies(
    four: Cluster, plain_docker: Docker, perl: Image, tmp_path: Path
) -> None:
    victim, serving, *_ = four.nodes
    name = f"{serving.address}/admin/perl:6"
    plain_docker.load(perl, name, tmp_path / "layout")
    plain_docker.login(serving.address, serving.admin_account)
    plain_docker("push", name)
    plain_docker.forget_images()
    pull = plain_docker.started("pull", name)
    victim.crash()
    assert pull.wait(seconds=60) == 0
    assert plain_docker.run(name) == "hello from perl\n"


def test_skopeo_copies_from_one_server_to_another(
    four: Cluster, perl: Image, tmp_path: Path
) -> None:
    homes = [tmp_path / str(number) for number in range(len(four.nodes))]
    for home in homes:
        home.mkdir()
    first, second, *others = [
        Skopeo(node, four.account, home) for node, home in zip(four.nodes, homes, strict=True)
    ]
    first.copy(Layout(tmp_path / "layout").tagged(perl, "image"), first.at("admin/skopeo:1"))
    assert second.inspect_raw("admin/skopeo:1") == first.inspect_raw("admin/skopeo:1")
    for other in others:
        assert other.tags("admin/skopeo") == ["1"]
        other.copy(other.at("admin/skopeo:1"), f"dir:{tmp_path}/copy", "--remove-signatures")


def test_an_upload_goes_on_elsewhere_after_its_server_was_killed(four: Cluster) -> None:
    victim, second, third, fourth = four.nodes
    data = images.noise(14 * MIB + 5)
    cuts = [0, 3 * MIB + 1, 8 * MIB, 11 * MIB, len(data)]
    parts = [data[a:b] for a, b in pairwise(cuts)]
    here = Wire(victim, four.account)
    place = here.begin_upload("admin/moved")
    for part in parts[:2]:
        place = here.request("PATCH", place, part).expect(202).location
    victim.crash()
    there = Wire(second, four.account)
    assert there.request("GET", place).expect(204).headers["Range"] == f"0-{cuts[2] - 1}"
    place = there.request("PATCH", place, parts[2]).expect(202).location
    Wire(third, four.account).finish_upload(place, sha256_of(data), parts[3]).expect(201)
    for node in (second, third, fourth):
        assert Wire(node, four.account).pull_blob("admin/moved", sha256_of(data)) == data
    four.mend()
    assert Wire(victim, four.account).pull_blob("admin/moved", sha256_of(data)) == data


def test_an_upload_whose_server_is_killed_in_mid_patch_goes_on_elsewhere(four: Cluster) -> None:
    *_, other, victim = four.nodes
    data = images.noise(9 * MIB + 7)
    here = Wire(victim, four.account)
    place = here.begin_upload("admin/torn")
    place = here.request("PATCH", place, data[: 4 * MIB]).expect(202).location
    with pytest.raises((OSError, http.client.HTTPException)):
        here.request_cut("PATCH", place, data[4 * MIB :], sent=2 * MIB, then=victim.crash)
    there = Wire(other, four.account)
    last = int(there.request("GET", place).expect(204).headers["Range"].partition("-")[2])
    assert last + 1 >= 4 * MIB
    there.finish_upload(place, sha256_of(data), data[last + 1 :]).expect(201)
    assert there.pull_blob("admin/torn", sha256_of(data)) == data
