"""Manifests that say another size than what they point at has: accepted, and shown."""

import pytest
from structlog.testing import capture_logs

from tests.api.client import Client, Repository
from tests.oci.documents import OCI_CONFIG, OCI_MANIFEST, descriptor, digest, encoded, image, index

CONFIG, LAYER = b"{}", b"a layer" * 20


@pytest.fixture
async def mine(alice: Client) -> Repository:
    repository = alice.repository("alice/app")
    for data in (CONFIG, LAYER):
        await repository.push_blob(data)
    return repository


def made(layer_size: int, config_size: int = len(CONFIG)) -> dict[str, object]:
    layer = {**descriptor(LAYER), "size": layer_size}
    config = {**descriptor(CONFIG, OCI_CONFIG), "size": config_size}
    return image(layer, config=config)


@pytest.mark.parametrize("size", [0, len(LAYER) - 1, len(LAYER) + 1, 2**62])
async def test_a_wrong_size_is_accepted_and_told(mine: Repository, size: int) -> None:
    with capture_logs() as said:
        answer = (await mine.put_manifest(made(size), "v1")).expect(201)
    (warning,) = answer.headers.getall("Warning")
    assert warning.startswith('299 - "')
    assert digest(LAYER) in warning
    assert f" {size} bytes" in warning
    assert f" {len(LAYER)}" in warning
    (line,) = [each for each in said if each["event"] == "manifest.sizes"]
    assert (line["repository"], len(line["wrong"])) == ("alice/app", 1)
    assert (await mine.get("manifests/v1")).expect(200).body == encoded(made(size))


async def test_right_sizes_need_no_word(mine: Repository) -> None:
    answer = (await mine.put_manifest(made(len(LAYER)), "v1")).expect(201)
    assert "Warning" not in answer.headers


async def test_each_is_told_but_not_very_many(mine: Repository) -> None:
    answer = (await mine.put_manifest(made(1, 1), "v1")).expect(201)
    assert len(answer.headers.getall("Warning")) == 2
    layers = []
    for number in range(9):
        data = bytes([number]) * 9
        await mine.push_blob(data)
        layers.append({**descriptor(data), "size": 0})
    answer = await mine.put_manifest(image(*layers, config=descriptor(CONFIG, OCI_CONFIG)), "v2")
    warnings = answer.expect(201).headers.getall("Warning")
    assert len(warnings) == 5
    assert sum(map(len, warnings)) < 4096


async def test_children_and_subjects_are_compared_and_what_is_not_here_is_not(
    mine: Repository,
) -> None:
    child = encoded(made(len(LAYER)))
    (await mine.put_manifest(child)).expect(201)
    right, absent = descriptor(child, OCI_MANIFEST), descriptor(b"{absent}", OCI_MANIFEST)
    wrong = {**right, "size": 1}
    assert "Warning" not in (await mine.put_manifest(index(right, absent), "i1")).headers
    answer = (await mine.put_manifest(index(wrong, absent), "i2")).expect(201)
    assert digest(child) in answer.headers["Warning"]
    document = {**made(len(LAYER)), "subject": wrong}
    answer = (await mine.put_manifest(document)).expect(201)
    assert digest(child) in answer.headers["Warning"]
    foreign = {**descriptor(b"elsewhere"), "urls": ["https://example.org/layer"]}
    document = image(foreign, config=descriptor(CONFIG, OCI_CONFIG))
    assert "Warning" not in (await mine.put_manifest(document, "f")).expect(201).headers
