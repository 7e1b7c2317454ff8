"""Where blobs are cut: the cuts depend on the bytes alone."""

import hashlib

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from treescale.chunks.format.split import DEFAULT, SplitParameters, Splitter
from treescale.chunks.store import CHUNK_BYTES_MAX

SMALL = SplitParameters(min_bytes=64, average_bytes=256, max_bytes=1024)


def noise(seed: int, size: int) -> bytes:
    return blake3(b"%d" % seed).digest(length=size)


def cut_whole(data: bytes, parameters: SplitParameters = SMALL) -> list[bytes]:
    splitter = Splitter(parameters)
    chunks = [bytes(chunk) for chunk in splitter.feed(data)]
    return [*chunks, bytes(splitter.pending)] if data else chunks


@st.composite
def blobs_in_pieces(draw: st.DrawFn) -> list[bytes]:
    kind = draw(st.sampled_from(["noise", "zeros", "repeating"]))
    size = draw(st.integers(0, 6000))
    seed = draw(st.integers(0, 1000))
    data = {
        "noise": noise(seed, size),
        "zeros": bytes(size),
        "repeating": (noise(seed, 97) * (size // 97 + 1))[:size],
    }[kind]
    marks = sorted(draw(st.lists(st.integers(0, size), max_size=8)))
    return [data[a:b] for a, b in zip([0, *marks], [*marks, size], strict=True)]


@given(blobs_in_pieces())
def test_the_cuts_do_not_depend_on_how_the_bytes_came(pieces: list[bytes]) -> None:
    splitter = Splitter(SMALL)
    chunks = [bytes(chunk) for piece in pieces for chunk in splitter.feed(piece)]
    last = bytes(splitter.pending)
    assert chunks + ([last] if last else []) == cut_whole(b"".join(pieces))


@given(blobs_in_pieces())
def test_another_process_may_go_on_from_any_cut(pieces: list[bytes]) -> None:
    chunks: list[bytes] = []
    tail = b""
    for piece in pieces:
        splitter = Splitter(SMALL, at_start=not chunks)
        splitter.extend(tail)
        chunks += [bytes(chunk) for chunk in splitter.feed(piece)]
        tail = bytes(splitter.pending)
    assert chunks + ([tail] if tail else []) == cut_whole(b"".join(pieces))


@given(blobs_in_pieces())
def test_the_chunks_are_the_blob_and_keep_the_limits(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    chunks = cut_whole(data)
    assert b"".join(chunks) == data
    assert all(0 < len(chunk) <= SMALL.max_bytes for chunk in chunks)
    assert all(len(chunk) >= SMALL.min_bytes for chunk in chunks[:-1])


@given(st.integers(0, 256), st.integers(0, 50))
def test_a_blob_up_to_the_average_is_one_chunk(size: int, seed: int) -> None:
    assert cut_whole(noise(seed, size)) == ([noise(seed, size)] if size else [])


def test_a_blob_just_over_the_average_may_be_cut() -> None:
    assert any(len(cut_whole(noise(seed, SMALL.average_bytes + 1))) > 1 for seed in range(50))


def test_a_small_change_leaves_most_chunks_as_they_were() -> None:
    data = noise(1, 100_000)
    changed = data[:50_000] + b"inserted" + data[50_000:]
    before, after = set(cut_whole(data)), set(cut_whole(changed))
    assert len(after - before) <= 4


@settings(max_examples=examples(5), deadline=None)
@given(st.integers(0, 3), st.integers(1, 9_000_000))
def test_the_default_parameters_keep_their_limits(seed: int, size: int) -> None:
    chunks = cut_whole(noise(seed, size), DEFAULT)
    assert all(len(chunk) <= CHUNK_BYTES_MAX for chunk in chunks)
    if size <= 1024 * 1024:
        assert len(chunks) == 1


def test_the_cuts_of_known_bytes_never_change() -> None:
    """A store full of chunks relies on it: other cuts would share nothing with them."""
    data = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(200_000))
    assert [len(chunk) for chunk in cut_whole(data, DEFAULT)] == KNOWN_CUTS


KNOWN_CUTS = [721161, 1522180, 1207545, 1632481, 1316633]


@pytest.mark.parametrize("feeds", [1, 3])
def test_chunks_are_views_of_one_copy(feeds: int) -> None:
    splitter = Splitter(SMALL)
    for seed in range(feeds):
        chunks = splitter.feed(noise(seed, 5000))
        assert len({id(chunk.obj) for chunk in chunks}) == 1


def test_a_later_part_of_a_blob_may_begin_with_nothing() -> None:
    splitter = Splitter(SMALL, at_start=False)
    assert splitter.feed(b"") == []
    assert bytes(splitter.pending) == b""
