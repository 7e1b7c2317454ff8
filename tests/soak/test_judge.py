"""The judge of a soak is judged: each thing that must not happen is told when it does."""

import http.client
import json
from pathlib import Path
from random import Random  # noqa: TID251  a seeded source

import pytest

from tests.functional.wire import Answer
from tests.soak.client import Told
from tests.soak.content import Layer, Layers
from tests.soak.ending import Expected, differences_on, expected
from tests.soak.lanes import pull
from tests.soak.model import Image, Lane, Repository, image_of, index_of
from tests.soak.pushing import Pusher
from treescale.chunks.store import chunk_id_of

SEED = 1


class Answers:
    """A client whose server says what the test wants."""

    def __init__(self, **statuses: int) -> None:
        self._statuses = statuses
        self.body = b""

    def ask(self, method: str, path: str, *_: object, **__: object) -> Answer:
        status = self._statuses.get(method, http.client.OK)
        return Answer(status, http.client.HTTPMessage(), self.body if "/" in path else b"")

    once = ask


def an_image(mark: int = 0) -> Image:
    layers = Layers(SEED)
    return image_of((layers.some(Random(mark)),), layers.config, mark=mark)  # noqa: S311


@pytest.mark.parametrize(("lease", "counted"), [(60.0, "broken pushes"), (0.0, "late pushes")])
def test_a_push_that_is_refused_what_it_was_promised_is_broken(lease: float, counted: str) -> None:
    told, client = Told(), Answers(PUT=404)
    pusher = Pusher(client, told, Random(SEED), lease, lambda _: [])  # type: ignore[arg-type]  # noqa: S311
    pusher.provide = lambda *_: None  # type: ignore[method-assign]
    with pytest.raises(AssertionError):
        pusher.push("admin/a", an_image(), "v1")
    assert told.counts[counted] > 0
    assert bool(told.faults) is (lease > 0)


def test_what_cannot_be_pulled_or_has_other_bytes_is_told_unless_it_goes() -> None:
    repository, image = Repository("admin/a"), an_image()
    repository.images[image.digest] = image
    for status, kind in ((404, "unreadable"), (200, "wrong bytes")):
        told = Told()
        pull(Answers(GET=status), told, repository, image, ())  # type: ignore[arg-type]
        assert told.counts[kind] == 1
    repository.doubt()
    told = Told()
    pull(Answers(GET=404), told, repository, image, ())  # type: ignore[arg-type]
    assert not told.faults


def test_what_is_on_a_disk_is_compared_file_by_file(tmp_path: Path) -> None:
    lane, repository, image = Lane("l"), Repository("admin/l-0"), an_image(7)
    big = image_of((Layer(SEED, (1, 2, 3)),), Layer(SEED, ()))
    repository.images = {each.digest: each for each in (image, big)}
    lane.here[repository.name] = repository
    wanted = expected([lane])
    assert len(wanted.chunks) > 1
    for name, size in wanted.chunks.items():
        place = tmp_path / "chunks" / name[:2] / name[2:4]
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(bytes(size))
    assert differences_on(tmp_path, wanted) == []
    (tmp_path / "chunks" / "ab").mkdir(exist_ok=True)
    (tmp_path / "chunks" / "ab" / chunk_id_of(b"left").hex()).write_bytes(b"left")
    (tmp_path / "trash").mkdir()
    (tmp_path / "trash" / "x").write_bytes(b"")
    first = next(iter(wanted.chunks))
    (tmp_path / "chunks" / first[:2] / first[2:4] / first).unlink()
    assert differences_on(tmp_path, wanted) == ["more: 1", "less: 1", "trash: 1"]
    big.live = False
    assert expected([lane]).size < wanted.size
    assert expected([Lane("empty")]) == Expected()


def test_the_model_lets_go_what_goes_with_an_image_and_brings_it_back() -> None:
    repository, image = Repository("admin/a"), an_image()
    layers = Layers(SEED)
    about = image_of((), layers.config, subject=image, mark=1)
    tagged = image_of((), layers.config, subject=image, mark=2)
    listed = image_of((), layers.config, subject=image, mark=3)
    index = index_of([listed])
    assert json.loads(index.body)["manifests"][0]["digest"] == listed.digest
    for each in (image, about, tagged, listed, index):
        repository.images[each.digest] = each
    repository.tags = {"v1": image.digest, "report": tagged.digest}
    repository.delete(image.digest, 1.0)
    assert [each.live for each in (image, about, tagged, listed)] == [False, False, True, True]
    assert repository.tags == {"report": tagged.digest}
    repository.bring_back(image.digest)
    assert about.live
    assert repository.tags["v1"] == image.digest
