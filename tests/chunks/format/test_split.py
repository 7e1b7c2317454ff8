"""Where blobs are cut: the cuts depend on the bytes alone."""

import hashlib
from collections.abc import Iterable
from itertools import accumulate, takewhile

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from pyfastcdc import FastCDC

from tests.examples import examples
from treescale.chunks.format import split
from treescale.chunks.format.gzip_probe import PROBE_BYTES
from treescale.chunks.format.split import (
    DEFAULT,
    FIXED_BYTES,
    SplitParameters,
    Splitter,
    _cutters,
)
from treescale.chunks.store import CHUNK_BYTES_MAX

SMALL = SplitParameters(min_bytes=64, average_bytes=512, max_bytes=2048)


def noise(seed: int, size: int) -> bytes:
    return blake3(b"%d" % seed).digest(length=size)


def cut_whole(data: bytes, parameters: SplitParameters = SMALL) -> list[bytes]:
    return cut_pieces([data], Splitter(parameters))


def cut_pieces(pieces: Iterable[bytes], splitter: Splitter, *, plain: bool = False) -> list[bytes]:
    """Cut what comes in pieces, as a writer does; the last one is what is left."""
    chunks: list[bytes] = []
    tail = b""
    for piece in pieces:
        data = tail + piece
        found = [bytes(each) for each in splitter.cut(memoryview(data), is_plain=plain)]
        chunks += found
        tail = data[sum(map(len, found)) :]
        assert b"".join(found) == data[: len(data) - len(tail)]
    return [*chunks, tail] if tail else chunks


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
    assert cut_pieces(pieces, Splitter(SMALL)) == cut_whole(b"".join(pieces))


@given(blobs_in_pieces())
def test_another_process_may_go_on_from_any_cut(pieces: list[bytes]) -> None:
    blob, come, chunks, settled = b"".join(pieces), 0, list[bytes](), 0
    for piece in pieces:
        come += len(piece)
        splitter = Splitter(SMALL, start=settled)
        chunks += [bytes(chunk) for chunk in splitter.cut(memoryview(blob[settled:come]))]
        settled = splitter.start
        assert settled == sum(map(len, chunks))
    assert chunks + ([blob[settled:]] if blob[settled:] else []) == cut_whole(blob)


@given(st.integers(0, 500), st.lists(st.integers(0, 6000), max_size=20))
def test_a_search_that_goes_on_finds_what_one_from_the_beginning_does(
    seed: int, lengths: list[int]
) -> None:
    data, cutters = memoryview(noise(seed, 6000)), _cutters(SMALL)
    whole = cutters.first(data)
    for length in sorted(lengths):
        known = cutters.first(data[:length])
        if known == length:  # so no chunk ends there
            assert cutters.first(data, length) == whole


@settings(max_examples=examples(20), deadline=None)
@given(st.integers(0, 12), st.integers(0, 2**20), st.integers(2**18, 4 * 2**20))
def test_a_search_goes_on_with_the_default_parameters(seed: int, kind: int, length: int) -> None:
    data = noise(seed, 4 * 2**20 + 100) if kind % 4 else bytes(4 * 2**20 + 100)
    cutters = _cutters(DEFAULT)
    if cutters.first(memoryview(data)[:length]) == length:
        assert cutters.first(memoryview(data), length) == cutters.first(memoryview(data))


def test_what_was_searched_is_not_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []
    original = split._first

    def first(cutter: FastCDC, data: memoryview) -> int:
        found = original(cutter, data)
        searched.append(found)
        return found

    monkeypatch.setattr(split, "_first", first)
    data = noise(3, 12 * 2**20)
    step = 256 * 1024
    chunks = cut_pieces((data[at : at + step] for at in range(0, len(data), step)), Splitter())
    assert chunks == cut_whole(data, DEFAULT)
    del searched[-len(chunks) :]
    assert sum(searched) < 1.7 * len(data), "the first 256 KiB of a chunk are not hashed at all"


@given(blobs_in_pieces())
def test_the_chunks_are_the_blob_and_keep_the_limits(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    chunks = cut_whole(data)
    assert b"".join(chunks) == data
    assert all(0 < len(chunk) <= SMALL.max_bytes for chunk in chunks)
    assert all(len(chunk) >= SMALL.min_bytes for chunk in chunks[:-1])


@given(st.integers(0, 512), st.integers(0, 50))
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


def test_chunks_are_views_of_what_was_given() -> None:
    data = noise(1, 5000)
    assert {id(chunk.obj) for chunk in Splitter(SMALL).cut(memoryview(data))} == {id(data)}


def test_a_later_part_of_a_blob_may_begin_with_nothing() -> None:
    assert Splitter(SMALL, start=5000).cut(memoryview(b"")) == []


PLAIN = noise(7, 17 * 2**20 + 5)
"""As far as a splitter is concerned: somebody says that it is a plain gzip stream."""


@settings(max_examples=examples(10), deadline=None)
@given(st.lists(st.integers(0, len(PLAIN)), max_size=6))
def test_where_content_says_nothing_cuts_are_evenly_spaced(marks: list[int]) -> None:
    ends = [*sorted(marks), len(PLAIN)]
    pieces = [PLAIN[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    chunks = cut_pieces(pieces, Splitter(), plain=True)
    by_content = cut_whole(PLAIN, DEFAULT)
    probed = list(takewhile(lambda end: end < PROBE_BYTES, accumulate(map(len, by_content))))
    assert chunks[: len(probed) + 1] == by_content[: len(probed) + 1]
    *fixed, last = chunks[len(probed) + 1 :]
    assert {len(chunk) for chunk in fixed} == {FIXED_BYTES}
    assert 0 < len(last) <= FIXED_BYTES
    assert b"".join(chunks) == PLAIN


@settings(max_examples=examples(10), deadline=None)
@given(st.integers(0, len(PLAIN)))
def test_another_process_goes_on_with_even_cuts(come: int) -> None:
    first = Splitter()
    chunks = list(first.cut(memoryview(PLAIN[:come]), is_plain=True))
    second = Splitter(start=first.start)
    chunks += second.cut(memoryview(PLAIN[first.start :]), is_plain=True)
    rest = PLAIN[second.start :]
    whole = cut_pieces([PLAIN], Splitter(), plain=True)
    assert [bytes(chunk) for chunk in chunks] + ([rest] if rest else []) == whole


@pytest.fixture(scope="module")
def fixed() -> Splitter:
    """Return a splitter that cuts evenly by now."""
    splitter = Splitter()
    splitter.cut(memoryview(PLAIN), is_plain=True)
    return splitter


@given(wanted=st.integers(1, 8 * 2**20), more=st.integers(0, 20 * 2**20))
def test_batches_can_end_where_even_cuts_are(fixed: Splitter, wanted: int, more: int) -> None:
    splitter = fixed
    assert Splitter().bytes_to_cut(more, wanted) == wanted
    at = splitter.start + more
    count = splitter.bytes_to_cut(at, wanted)
    assert (at + count - splitter.start) % FIXED_BYTES == 0
    assert 0 < count <= max(wanted, FIXED_BYTES)
