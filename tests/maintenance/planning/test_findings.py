"""What stores found, as rows have it, and what it says of the whole."""

from tests.tables import each_row
from treescale.maintenance.planning.findings import (
    CHUNKS_NAMED_MAX,
    REASONS_MAX,
    Findings,
    Verdict,
    healed,
    packed,
    total,
    unpacked,
    verdict,
)


def test_a_row_has_what_was_packed_and_nothing_of_what_is_nothing() -> None:
    assert packed(Findings()) == ""
    assert unpacked("") == Findings()
    found = Findings(missing=3, rotten_chunks=["ab"], reasons=["a disk is full"])
    assert packed(found) == '{"missing":3,"rotten_chunks":["ab"],"reasons":["a disk is full"]}'
    assert unpacked(packed(found)) == found


def test_what_is_not_understood_is_no_all_clear() -> None:
    assert not unpacked("{").is_whole
    assert unpacked('{"missing":1,"of_a_later_version":2}') == Findings(missing=1)


def test_a_chunk_that_several_stores_tell_of_is_counted_once() -> None:
    one = Findings(held=5, missing=2, lost=2, lost_chunks=["aa", "bb"], reasons=["x"])
    other = Findings(held=1, missing=1, lost=1, lost_chunks=["bb"], reasons=["x", "y"])
    both = total([one, other])
    assert (both.held, both.missing, both.lost) == (6, 3, 2)
    assert (both.lost_chunks, both.reasons) == (["aa", "bb"], ["x", "y"])
    assert total([]) == Findings()


def test_names_and_reasons_are_bounded_and_counts_are_not() -> None:
    found = Findings()
    for number in range(CHUNKS_NAMED_MAX + 5):
        found.note_lost(number.to_bytes(32))
        found.note_unfound(number.to_bytes(32))
        found.note_rotten(number.to_bytes(32))
        found.note_reason(f"reason {number}")
        found.note_reason("")
    assert (found.lost, len(found.lost_chunks)) == (CHUNKS_NAMED_MAX + 5, CHUNKS_NAMED_MAX)
    assert len(found.reasons) == REASONS_MAX
    assert total([found, found]).lost == CHUNKS_NAMED_MAX + 5


@each_row(
    ("found", "lost", "unasked", "said"),
    [
        (Findings(held=9, surplus=2, unnamed=1), 0, (), Verdict.WHOLE),
        (Findings(missing=1), 0, (), Verdict.UNDER_REPLICATED),
        (Findings(unfound=1), 0, (), Verdict.UNDER_REPLICATED),
        (Findings(unlooked=1), 0, (), Verdict.UNDER_REPLICATED),
        (Findings(), 0, ("a store",), Verdict.UNDER_REPLICATED),
        (Findings(rotten=1), 0, (), Verdict.LOST),
        (Findings(missing=1, lost=1), 0, ("a store",), Verdict.LOST),
        (Findings(), 1, (), Verdict.LOST),
    ],
)
def test_the_verdict(found: Findings, lost: int, unasked: tuple[str, ...], said: Verdict) -> None:
    assert verdict(found, lost=lost, unasked=unasked) == said


def test_what_was_replaced_is_whole_again() -> None:
    assert healed(Findings(rotten=3, fetched=3), lost=0, unasked=()) == Verdict.WHOLE
    assert healed(Findings(rotten=3, missing=1), lost=0, unasked=()) == Verdict.UNDER_REPLICATED
    assert healed(Findings(rotten=3, lost=1), lost=0, unasked=()) == Verdict.LOST


def test_exit_statuses_are_a_promise() -> None:
    assert [(int(each), each.word) for each in Verdict] == [
        (0, "whole"),
        (1, "lost or rotten"),
        (3, "under-replicated"),
    ]
