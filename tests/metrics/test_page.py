"""The page, letter for letter: Prometheus' exposition format 0.0.4."""

import pytest

from treescale.metrics.catalog import ALL, Kind, Metric
from treescale.metrics.page import Family, Histogram, Sample, one, page

COUNTER = Metric("things_total", Kind.COUNTER, "Things.", ("kind", "name"))
TIMES = Metric("thing_seconds", Kind.HISTOGRAM, "Time.", ("kind",))


def test_values_of_labels_stand_one_a_line() -> None:
    samples = [Sample(("a", 'x"\\\n'), 7), Sample(("b", "é"), 0.5)]
    assert page([Family(COUNTER, samples)]).decode() == (
        "# HELP things_total Things.\n"
        "# TYPE things_total counter\n"
        'things_total{kind="a",name="x\\"\\\\\\n"} 7\n'
        'things_total{kind="b",name="é"} 0.5\n'
    )


def test_a_histogram_is_told_as_what_is_below_each_bound() -> None:
    value = Histogram((0.1, 5.0), (2, 0, 1), 99.5)
    assert page([Family(TIMES, [Sample(("a",), value)])]).decode().splitlines()[2:] == [
        'thing_seconds_bucket{kind="a",le="0.1"} 2',
        'thing_seconds_bucket{kind="a",le="5.0"} 2',
        'thing_seconds_bucket{kind="a",le="+Inf"} 3',
        'thing_seconds_sum{kind="a"} 99.5',
        'thing_seconds_count{kind="a"} 3',
    ]
    bare = page([one(Metric("t", Kind.HISTOGRAM, "T."), 0)._replace(samples=[Sample((), value)])])
    assert 't_bucket{le="+Inf"} 3\nt_sum 99.5\nt_count 3\n' in bare.decode()


def test_yes_and_no_are_numbers_and_whole_numbers_stay_whole() -> None:
    gauge = Metric("g", Kind.GAUGE, "G.")
    values = (True, False, 2**60, 1_700_000_000.25)
    lines = [page([one(gauge, value)]).decode().splitlines()[2] for value in values]
    assert lines == ["g 1", "g 0", f"g {2**60}", "g 1700000000.25"]


def test_what_has_no_value_is_left_out() -> None:
    assert page([Family(COUNTER, [])]) == b""


def test_a_label_too_few_is_a_bug() -> None:
    with pytest.raises(ValueError, match="shorter"):
        page([one(COUNTER, 1, "a")])


def test_no_two_metrics_have_one_name() -> None:
    assert len({metric.name for metric in ALL}) == len(ALL) > 40
