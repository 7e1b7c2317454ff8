"""The ratios as a picture: one bar a row, from 1 on a logarithmic scale, and the line to reach.

To the right is better everywhere: where a small ratio is good, its inverse is drawn.
"""

import math
from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from bench.rows import MET, OPEN, SHORT, Row

LABEL_WIDTH: Final = 330
PLOT_WIDTH: Final = 420
ROW_HEIGHT: Final = 24
TOP: Final = 34
TICKS: Final = (0.5, 1, 2, 3, 4, 6, 10, 20, 40)
COLORS: Final = {MET: "#2f855a", SHORT: "#c05621", OPEN: "#718096"}
STYLE: Final = (
    "text{font:12px sans-serif;fill:#2d3748}.s{fill:#718096}"
    "@media(prefers-color-scheme:dark){text{fill:#e2e8f0}.s{fill:#a0aec0}}"
)


def drawn(rows: Sequence[Row]) -> str:
    """Return the SVG of all rows that are ratios."""
    ratios = [row for row in rows if row.peers and row.bar and not row.bar.own]
    height = TOP + ROW_HEIGHT * len(ratios) + 10
    width = LABEL_WIDTH + PLOT_WIDTH + 60
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        "<title>TreeScale by the best peer; right is better</title>",
        f"<style>{STYLE}</style>",
        *(_tick(tick, height) for tick in TICKS),
    ]
    for number, row in enumerate(ratios):
        lines += _bar(row, TOP + ROW_HEIGHT * number)
    return "\n".join([*lines, "</svg>", ""])


def _x(ratio: float) -> float:
    low, high = math.log(TICKS[0]), math.log(TICKS[-1])
    part = (math.log(min(max(ratio, TICKS[0]), TICKS[-1])) - low) / (high - low)
    return round(LABEL_WIDTH + PLOT_WIDTH * part, 1)


def _tick(tick: float, height: int) -> str:
    x = _x(tick)
    return (
        f'<line x1="{x}" y1="{TOP - 8}" x2="{x}" y2="{height}" stroke="#a0aec0" '
        f'stroke-opacity="{0.9 if tick == 1 else 0.3}"/>'
        f'<text class="s" x="{x}" y="{TOP - 14}" text-anchor="middle">{tick:g}</text>'
    )


def _bar(row: Row, y: int) -> list[str]:
    assert row.bar is not None, "only what is judged is drawn"
    ratio, limit = row.value, row.bar.limit
    if not row.bar.at_least:
        ratio, limit = 1 / ratio, 1 / limit
    left, right = sorted((_x(1), _x(ratio)))
    length = max(right - left, 1)
    color = COLORS[row.verdict]
    return [
        f'<text x="{LABEL_WIDTH - 10}" y="{y + 15}" text-anchor="end">{escape(row.work)}</text>',
        f'<rect x="{left}" y="{y + 4}" width="{length:.1f}" height="14" fill="{color}"/>',
        f'<path d="M{_x(limit)} {y}v22" stroke="#e53e3e" stroke-width="2"/>',
        f'<text x="{max(right, _x(limit)) + 6}" y="{y + 15}">{ratio:.2f}</text>',
    ]
