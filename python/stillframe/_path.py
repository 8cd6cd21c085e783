"""Where a leaf stands in the state: as Python for people, as a dotted name for entries."""

from __future__ import annotations

from typing import Any, Sequence, Set

_MAX_NAME_BYTES = 32 * 1024  # half of what the format allows; leaves room for "#2"


class Field(str):
    """A path part that is an attribute (namedtuple field), not a key."""


def display(path: Sequence[Any]) -> str:
    """`("optimizer", "state", 3, "hook")` -> "optimizer.state[3]['hook']"."""
    if not path:
        return "state"
    text = str(path[0])
    for position, part in enumerate(path[1:], start=1):
        attribute = isinstance(part, Field) or (
            position == 1 and text == "optimizer" and part in ("state", "param_groups")
        )
        text += f".{part}" if attribute else f"[{part!r}]"
    return text


def _is_plain(part: str) -> bool:
    return part != "" and part.isprintable() and part != "__metadata__"


def entry_name(path: Sequence[Any], taken: Set[str]) -> str:
    """The dotted name of a path, made unique among `taken` (which gains it) by "#2", "#3", …"""
    parts = [str(part) if isinstance(part, str) and _is_plain(part) else repr(part) for part in path]
    base = ".".join(parts) or "state"
    encoded = base.encode("utf-8", "backslashreplace")
    if len(encoded) > _MAX_NAME_BYTES:
        encoded = encoded[:_MAX_NAME_BYTES]
    base = encoded.decode("utf-8", "ignore")
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}#{count}"
    taken.add(name)
    return name
