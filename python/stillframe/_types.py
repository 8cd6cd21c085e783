"""Classes a tree may name: namedtuples and Enums, found without importing or calling anything a file names."""

from __future__ import annotations

import collections
import enum
import keyword
import sys
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Optional, Tuple

from ._errors import CorruptError

_seen: Dict[str, type] = {}


@dataclass(frozen=True)
class EnumValue:
    """An Enum member whose class is not known here: `type` is "module.Qualname", `name` the member's, `value` its
    value."""

    type: str
    name: str
    value: Any


def type_name(kind: type) -> str:
    """ "module.Qualname", the way a class is written in a tree."""
    return f"{kind.__module__}.{kind.__qualname__}"


def remember(kind: type) -> str:
    """Notes a class met while encoding, so that decoding in this process finds it again. Returns its name."""
    name = type_name(kind)
    _seen[name] = kind
    return name


def is_namedtuple(kind: type) -> bool:
    """A direct product of collections.namedtuple or typing.NamedTuple (or a subclass with the same fields)."""
    fields = getattr(kind, "_fields", None)
    return (
        issubclass(kind, tuple)
        and isinstance(fields, tuple)
        and all(isinstance(field, str) for field in fields)
        and not hasattr(kind, "n_sequence_fields")
    )


class TypeRegistry:
    """Resolves class names: first `types` of the caller, then what the encoder saw, then modules already imported."""

    def __init__(self, types: Iterable[type] = ()) -> None:
        self._given = {type_name(kind): kind for kind in types}

    def find(self, name: str) -> Optional[type]:
        found = self._given.get(name) or _seen.get(name) or _find_imported(name)
        return found if isinstance(found, type) else None

    def make_namedtuple(self, name: str, fields: List[str], values: List[Any]) -> Tuple[Any, ...]:
        kind = self.find(name)
        if kind is None or not is_namedtuple(kind) or list(getattr(kind, "_fields")) != fields:
            kind = _rebuild_namedtuple(name, tuple(fields))
        made: Tuple[Any, ...] = tuple.__new__(kind, values)
        return made

    def make_enum(self, name: str, member: str, value: Any) -> Any:
        kind = self.find(name)
        if kind is None or not issubclass(kind, enum.Enum):
            return EnumValue(name, member, value)
        named = kind.__members__.get(member)
        if named is not None and _same(named.value, value):
            return named
        for candidate in kind.__members__.values():
            if _same(candidate.value, value):
                return candidate
        if issubclass(kind, enum.Flag) and type(value) is int:
            try:
                return kind(value)
            except ValueError:
                return EnumValue(name, member, value)
        return EnumValue(name, member, value)


def _same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and bool(left == right)


def _find_imported(name: str) -> Optional[type]:
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module = sys.modules.get(".".join(parts[:cut]))
        if module is None:
            continue
        found: Any = module
        for part in parts[cut:]:
            # vars(), not getattr: a module's __getattr__ could import at the wish of a file.
            found = vars(found).get(part) if hasattr(found, "__dict__") else None
            if found is None:
                break
        if isinstance(found, type):
            return found
    return None


_rebuilt: Dict[Tuple[str, Tuple[str, ...]], type] = {}


def _rebuild_namedtuple(name: str, fields: Tuple[str, ...]) -> type:
    known = _rebuilt.get((name, fields))
    if known is not None:
        return known
    for field in fields:
        if not field.isidentifier() or keyword.iskeyword(field) or field.startswith("_"):
            raise CorruptError(f"the state tree has a namedtuple {name!r} with the impossible field {field!r}")
    if len(set(fields)) != len(fields):
        raise CorruptError(f"the state tree has a namedtuple {name!r} with a field twice")
    short = name.rpartition(".")[2]
    plain = short.isidentifier() and not keyword.iskeyword(short)
    made: type = collections.namedtuple(short if plain else "Rebuilt", fields)  # type: ignore[misc]
    _rebuilt[(name, fields)] = made
    return made
