"""The page: who was measured, who was the best, and what the bars say."""

from bench import report
from bench.registries import NAMED
from bench.rows import Effort, Row, at_least, at_most, beside

OLD, NEW = "old 1", "new 2"
BAR = at_least(1.0, (OLD, NEW))
PUSH = beside("push", "MB/s", BAR, [40.0, 50.0, 60.0], {OLD: [10.0, 10.0, 10.0], NEW: [40.0] * 3})
MEMORY = beside("memory", "MB", at_most(130, own=True), [128.0], {OLD: [41.0]})
START = Row("start", "s", at_most(2.0), [1.0, 3.0, 1.5], digits=1)


def test_a_row_has_every_peer_and_names_the_best() -> None:
    lines = report.tables([PUSH]).splitlines()
    assert (
        lines[0] == "| work | bar | TreeScale | old 1 | new 2 | best peer | ratio to it (range) | |"
    )
    assert lines[1] == "|---|---|---|---|---|---|---|---|"
    assert lines[2] == (
        "| push | ≥ 1 | 50 MB/s | 10 MB/s | 40 MB/s | new 2 | **1.25** (1.00 to 1.50) | met |"
    )


def test_a_peer_that_a_row_lacks_is_said_to_be_lacking() -> None:
    assert report.tables([PUSH, MEMORY]).splitlines()[3] == (
        "| memory | ≤ 130 MB | 128 MB | 41 MB | not measured | old 1 | **3.12** | met |"
    )


def test_what_is_ours_alone_has_a_table_of_its_own() -> None:
    text = report.tables([PUSH, START])
    assert "\n\n| TreeScale alone | bar |" in text
    assert "| start | ≤ 2 s | **1.5 s** (1.0 to 3.0) | met |" in text
    assert "peer" not in report.tables([START])


def test_other_figures_of_ours_are_told_as_before() -> None:
    row = Row("page", "ms", at_most(1.2), [2.0], [1.0], 1, "of few")
    assert "| page | ≤ 1.2 times of few | 2.0 ms, of few 1.0 ms: **2.00** | **short** |" in (
        report.tables([row])
    )


def test_the_page_says_who_was_measured_and_what_is_open() -> None:
    assert report.judged([PUSH, START]) == "2 of 2 bars are met; peers of this run: old 1, new 2."
    alone = beside("push", "MB/s", BAR, [50.0], {OLD: [10.0]})
    assert report.judged([alone, START]) == (
        "1 of 2 bars are met; peers of this run: old 1; "
        "not measured: new 2 (rows open for that: 1)."
    )
    assert report.judged([START]) == "1 of 1 bars are met."


def test_the_page_of_one_server_names_the_peers_of_its_bars() -> None:
    page = report.page(report.ONE_SERVER, [PUSH], Effort(3, 300_000_000))
    assert all(name in page for name in NAMED)
    assert "3 interleaved rounds" in page


def test_each_round_of_each_peer_is_kept() -> None:
    record = report._record(PUSH)
    assert record["peers"] == {OLD: [10.0, 10.0, 10.0], NEW: [40.0, 40.0, 40.0]}
    assert (record["against"], record["judged"], record["verdict"]) == (NEW, 1.25, "met")
