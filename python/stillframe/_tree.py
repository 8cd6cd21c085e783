"""The typed state tree, writing side: any nesting of the values a training state holds, as JSON without pickle.

docs/format.md, "State tree", gives every node. Tensors, arrays and long byte strings become references to entries;
what an entry is, a LeafSink decides (_walk.py). Reading is in _decode.py.
"""

from __future__ import annotations

import base64
import collections
import enum
import json
import math
import struct
import sys
from typing import Any, Callable, Dict, List, Optional, Protocol, Tuple, Union

import torch

from ._path import Field, display
from ._types import is_namedtuple, remember, type_name

Node = Union[None, bool, int, float, str, List[Any], Dict[str, Any]]

MAX_DEPTH = 200
MAX_INLINE_BYTES = 4096
_EXACT_INT = 1 << 53
_LONG_RUN = 64
_DIGITS = 4000  # of one piece of a large integer: below Python's own limit on int <-> str
_NAN_BITS = 0x7FF8000000000000


class LeafSink(Protocol):
    """Takes the values that live in entries. Each method returns the node that stands for the value, which the sink may
    complete later; `path` is only valid during the call."""

    def tensor(self, value: torch.Tensor, path: List[Any]) -> Node: ...

    def array(self, value: Any, path: List[Any]) -> Node: ...

    def blob(self, value: Union[bytes, bytearray], path: List[Any]) -> Node: ...


def dump(node: Node) -> str:
    """The node as JSON text: UTF-8 characters as they are, dict order kept, no spaces."""
    return json.dumps(node, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def encode(value: Any, sink: LeafSink, root: Tuple[Any, ...] = (), depth: int = 0) -> Node:
    """The node of `value`. TypeError with the path of the first leaf that cannot be stored, also where the state is
    nested deeper than 200 levels, of which `depth` are around `value`, or holds itself."""
    return _Encoder(sink, root, depth).node(value)


class _Encoder:
    def __init__(self, sink: LeafSink, root: Tuple[Any, ...], depth: int) -> None:
        self._sink = sink
        self._path: List[Any] = list(root)
        self._most_open = MAX_DEPTH - depth
        self._open: Dict[int, None] = {}  # ids of the containers we are inside of

    def node(self, value: Any) -> Node:
        known = _BY_TYPE.get(type(value))
        if known is not None:
            return known(self, value)
        return self._other(value)

    def _other(self, value: Any) -> Node:
        if isinstance(value, torch.Tensor):
            return self._sink.tensor(value, self._path)
        if isinstance(value, enum.Enum):
            return self._enum(value)
        if is_namedtuple(type(value)):
            return self._namedtuple(value)
        numpy = sys.modules.get("numpy")
        if numpy is not None:
            if isinstance(value, numpy.generic):
                return self._scalar(value)
            if isinstance(value, numpy.ndarray):
                return self._sink.array(value, self._path)
        raise self._refuse(value)

    def _refuse(self, value: Any, why: str = "") -> TypeError:
        reason = why or f"a value of type {type_name(type(value))} cannot be stored in a checkpoint"
        return TypeError(f"{display(self._path)}: {reason}")

    # ---- scalars

    def _plain(self, value: Any) -> Node:
        return value  # type: ignore[no-any-return]

    def _int(self, value: int) -> Node:
        return value if -_EXACT_INT < value < _EXACT_INT else {"$int": decimal_text(value)}

    def _float(self, value: float) -> Node:
        if math.isfinite(value):
            return value
        if value != value:
            bits = struct.unpack("<Q", struct.pack("<d", value))[0]
            return {"$float": "nan" if bits == _NAN_BITS else f"bits:{bits:016x}"}
        return {"$float": "inf" if value > 0 else "-inf"}

    def _complex(self, value: complex) -> Node:
        return {"$complex": [self._float(value.real), self._float(value.imag)]}

    def _str(self, value: str) -> Node:
        if not value.isascii():
            self._check_text(value)
        return value

    def _check_text(self, value: str) -> None:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise self._refuse(value, "a text with a lone surrogate cannot be stored; store bytes") from None

    def _bytes(self, value: Union[bytes, bytearray]) -> Node:
        key = "$bytes" if type(value) is bytes else "$bytearray"
        if len(value) <= MAX_INLINE_BYTES:
            return {key: base64.b64encode(value).decode("ascii")}
        return {key: self._sink.blob(value, self._path)}

    def _scalar(self, value: Any) -> Node:
        dtype = value.dtype
        if dtype.kind not in "biufc" or dtype.str[1:] in ("f16", "c32", "f12", "c24"):
            raise self._refuse(value, f"a NumPy scalar of dtype {dtype} cannot be stored in a checkpoint")
        little = dtype.newbyteorder("<")
        return {"$scalar": {"dtype": little.str, "bytes": value.astype(little).tobytes().hex()}}

    def _enum(self, value: enum.Enum) -> Node:
        name = remember(type(value))
        member = value.name if isinstance(value.name, str) else str(value.value)
        return {"$enum": {"type": name, "name": member, "value": self._inside(value, Field("value"), value.value)}}

    # ---- containers

    def _enter(self, value: Any) -> None:
        if id(value) in self._open:
            raise self._refuse(value, "the state holds itself here (a cycle) and cannot be stored")
        if len(self._open) >= self._most_open:
            raise self._refuse(value, f"the state is nested deeper than {MAX_DEPTH} levels")
        self._open[id(value)] = None

    def _child(self, part: Any, value: Any) -> Node:
        self._path.append(part)
        node = self.node(value)
        self._path.pop()
        return node

    def _inside(self, owner: Any, part: Any, value: Any) -> Node:
        self._enter(owner)
        node = self._child(part, value)
        del self._open[id(owner)]
        return node

    def _items(self, value: Any) -> List[Node]:
        self._enter(value)
        nodes: List[Node] = []
        if _is_long_run(value):
            nodes.extend(value)
        else:
            for index, item in enumerate(value):
                nodes.append(self._child(index, item))
        del self._open[id(value)]
        return nodes

    def _tuple(self, value: Tuple[Any, ...]) -> Node:
        return {"$tuple": self._items(value)}

    def _size(self, value: torch.Size) -> Node:
        return {"$size": [int(extent) for extent in value]}

    def _namedtuple(self, value: Any) -> Node:
        name = remember(type(value))
        fields = list(value._fields)
        self._enter(value)
        values = []
        for field, item in zip(fields, tuple(value)):
            values.append(self._child(Field(field), item))
        del self._open[id(value)]
        return {"$namedtuple": {"type": name, "fields": fields, "values": values}}

    def _dict(self, value: Dict[Any, Any]) -> Node:
        for key in value:
            if type(key) is not str or key[:1] == "$":
                return {"$dict": self._pairs(value)}
        self._enter(value)
        members: Dict[str, Node] = {}
        for key, item in value.items():
            members[str(self._str(key))] = self._child(key, item)
        del self._open[id(value)]
        return members

    def _ordered_dict(self, value: Dict[Any, Any]) -> Node:
        return {"$ordered_dict": self._pairs(value)}

    def _pairs(self, value: Dict[Any, Any]) -> List[Node]:
        self._enter(value)
        pairs: List[Node] = []
        for key, item in value.items():
            node = self._key(key)
            pairs.append([node, self._child(key, item)])
        del self._open[id(value)]
        return pairs

    def _key(self, key: Any) -> Node:
        if type(key) is str:
            return self._str(key)
        self._check_key(key)
        return self.node(key)

    def _check_key(self, key: Any) -> None:
        if type(key) is tuple or is_namedtuple(type(key)) or type(key) is frozenset:
            for part in key:
                self._check_key(part)
            return
        simple = key is None or type(key) in (str, int, float, bool, complex, bytes, torch.dtype, torch.device)
        numpy = sys.modules.get("numpy")
        if not simple and not isinstance(key, enum.Enum) and not (numpy and isinstance(key, numpy.generic)):
            raise self._refuse(key, f"a key or set element of type {type_name(type(key))} cannot be stored")
        if type(key) is bytes and len(key) > MAX_INLINE_BYTES:
            raise self._refuse(key, f"a key or set element of more than {MAX_INLINE_BYTES} bytes cannot be stored")

    def _elements(self, value: Any) -> List[Node]:
        nodes = []
        self._enter(value)
        for element in value:
            self._check_key(element)
            nodes.append(self.node(element))
        del self._open[id(value)]
        return sorted(nodes, key=dump)

    def _set(self, value: Any) -> Node:
        return {"$set": self._elements(value)}

    def _frozenset(self, value: Any) -> Node:
        return {"$frozenset": self._elements(value)}

    # ---- torch's own small values

    def _dtype(self, value: torch.dtype) -> Node:
        return {"$dtype": str(value)}

    def _device(self, value: torch.device) -> Node:
        return {"$device": str(value)}

    def _tensor(self, value: torch.Tensor) -> Node:
        return self._sink.tensor(value, self._path)


def _is_long_run(value: Any) -> bool:
    """Many integers and nothing else, which stand for themselves. The state of Python's generator is one."""
    if len(value) <= _LONG_RUN or set(map(type, value)) != {int}:
        return False
    return bool(-_EXACT_INT < min(value) and max(value) < _EXACT_INT)


_BY_TYPE: Dict[type, Callable[[_Encoder, Any], Node]] = {
    torch.Tensor: _Encoder._tensor,
    float: _Encoder._float,
    int: _Encoder._int,
    str: _Encoder._str,
    bool: _Encoder._plain,
    type(None): _Encoder._plain,
    dict: _Encoder._dict,
    list: _Encoder._items,
    tuple: _Encoder._tuple,
    collections.OrderedDict: _Encoder._ordered_dict,
    complex: _Encoder._complex,
    bytes: _Encoder._bytes,
    bytearray: _Encoder._bytes,
    set: _Encoder._set,
    frozenset: _Encoder._frozenset,
    torch.Size: _Encoder._size,
    torch.dtype: _Encoder._dtype,
    torch.device: _Encoder._device,
}


def decimal_text(value: int) -> str:
    """The decimal digits of an integer of any size, in pieces, so that Python's limit on int -> str is never met."""
    sign, rest = ("-", -value) if value < 0 else ("", value)
    base = 10**_DIGITS
    pieces: List[str] = []
    while rest >= base:
        rest, low = divmod(rest, base)
        pieces.append(f"{low:0{_DIGITS}d}")
    pieces.append(str(rest))
    return sign + "".join(reversed(pieces))


def decimal_value(text: str) -> Optional[int]:
    """The integer of `decimal_text`; None when the text is not one."""
    digits = text[1:] if text[:1] == "-" else text
    if not (digits.isascii() and digits.isdigit()):
        return None
    first = len(digits) % _DIGITS
    value = int(digits[:first]) if first else 0
    for start in range(first, len(digits), _DIGITS):
        value = value * 10**_DIGITS + int(digits[start : start + _DIGITS])
    return -value if text[:1] == "-" else value
