"""The same pulls over TLS: one certificate for both, HTTP/1.1, as Docker speaks it."""

from pathlib import Path

from bench.pair import side_by_side
from bench.peers import certificate
from bench.rows import Effort, Row, at_least
from bench.work.layers import STREAMS, Layer, pulled_by


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure MB/s of pulls."""
    layer = Layer(effort.layer_bytes)
    with side_by_side(root, "tls", certificate=certificate(root)) as pair:
        figures = pair.measure(effort.rounds, [layer.push, layer.pull])
    rows = [figures.row(pulled_by(streams), "MB/s", at_least(1.0)) for streams in STREAMS]
    for row in rows:
        row.work = row.work.replace("pull", "pull over TLS")
    return rows
