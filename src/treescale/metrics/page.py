"""The page that Prometheus reads: numbers as text, in its exposition format 0.0.4. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from treescale.metrics.catalog import Kind, Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Histogram(NamedTuple):
    """How often something took how long: `counts` has one more than there are `bounds`."""

    bounds: Sequence[float]
    counts: Sequence[int]
    sum: float


class Sample(NamedTuple):
    """One value of a metric, with those of its labels."""

    labels: tuple[str, ...]
    value: float | Histogram


class Family(NamedTuple):
    """A metric with all its values."""

    metric: Metric
    samples: Sequence[Sample]


def one(metric: Metric, value: float, *labels: str) -> Family:
    """Return a metric that has one value."""
    return Family(metric, [Sample(labels, value)])


def page(families: Iterable[Family]) -> bytes:
    """Return the text; a metric without a value is not in it."""
    lines = [line for family in families if family.samples for line in _family(family)]
    return "\n".join([*lines, ""]).encode()


def _family(family: Family) -> Iterator[str]:
    metric = family.metric
    yield f"# HELP {metric.name} {metric.text}"
    yield f"# TYPE {metric.name} {metric.kind}"
    for labels, value in family.samples:
        pairs = ",".join(
            f'{name}="{_escaped(text)}"' for name, text in zip(metric.labels, labels, strict=True)
        )
        if isinstance(value, Histogram):
            assert metric.kind is Kind.HISTOGRAM, metric.name
            yield from _histogram(metric.name, pairs, value)
        else:
            yield (
                f"{metric.name}{{{pairs}}} {_number(value)}"
                if pairs
                else (f"{metric.name} {_number(value)}")
            )


def _histogram(name: str, pairs: str, value: Histogram) -> Iterator[str]:
    before = f"{pairs}," if pairs else ""
    bounds = [*map(_number, value.bounds), "+Inf"]
    total = 0
    for bound, total in zip(bounds, accumulate(value.counts), strict=True):
        yield f'{name}_bucket{{{before}le="{bound}"}} {total}'
    inside = f"{{{pairs}}}" if pairs else ""
    yield f"{name}_sum{inside} {_number(value.sum)}"
    yield f"{name}_count{inside} {total}"


def _number(value: float) -> str:
    """Return it in Go's words; whole numbers as such, however large."""
    if isinstance(value, bool):
        return str(int(value))
    return repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
