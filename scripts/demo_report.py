"""The demo's tables."""

from __future__ import annotations

from statistics import median
from typing import Any, Dict, List, Sequence


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as they must be; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(headings), *cells]) for i in range(len(headings))]

    def line(row: Sequence[str], source: Sequence[object]) -> str:
        pairs = zip(row, source, widths)
        return "  ".join(c.rjust(w) if isinstance(s, (int, float)) else c.ljust(w) for c, s, w in pairs).rstrip()

    ruler = "  ".join("-" * width for width in widths)
    body = [line(row, source) for row, source in zip(cells, rows)]
    return "\n".join([line(headings, rows[0] if rows else headings), ruler, *body])


COLUMNS = (
    ("call ms", "call_seconds", 1e3),
    ("fence ms", "fence_seconds", 1e3),
    ("captured ms", "captured_seconds", 1e3),
    ("durable ms", "durable_seconds", 1e3),
    ("verified ms", "verified_seconds", 1e3),
    ("MB before", "raw_bytes", 1e-6),
    ("MB after", "stored_bytes", 1e-6),
)


def snapshot_table(figures: List[Dict[str, Any]]) -> str:
    """Per snapshot; times from the call, but call and fence, which are how long they held up the host."""
    headings = ["step", "host block ms", *(heading for heading, _, _ in COLUMNS)]
    rows = []
    for figure in figures:
        block = (figure["call_seconds"] + figure["fence_seconds"]) * 1e3
        rows.append([block, *(figure[key] * scale for _, key, scale in COLUMNS)])
    shown: List[List[object]] = [[f["step"], *(round(v, 2) for v in row)] for f, row in zip(figures, rows)]
    if rows:
        shown.append(["median", *(round(median(column), 2) for column in zip(*rows))])
    return table(headings, shown)
