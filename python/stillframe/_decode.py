"""The typed state tree, reading side: JSON nodes to objects. Executes nothing and imports nothing that a file names.

Anything a writer could not have written is CorruptError with the path of the node.
"""

from __future__ import annotations

import base64
import binascii
import collections
import json
import math
import struct
from typing import Any, Callable, Dict, List, Protocol, Union

import torch

from ._errors import CorruptError, UnsupportedError
from ._tree import MAX_DEPTH, Node, decimal_value
from ._types import TypeRegistry


class LeafSource(Protocol):
    """Gives the values that live in entries. A method raises CorruptError when its node is malformed."""

    def tensor(self, body: Union[str, Dict[str, Any]]) -> Any: ...

    def array(self, body: Dict[str, Any]) -> Any: ...

    def blob(self, entry: str) -> Any: ...


def parse(text: str) -> Node:
    """JSON text to nodes; CorruptError when it is no JSON (NaN and Infinity are none)."""
    try:
        node: Node = json.loads(text, parse_constant=_refuse_constant)
        return node
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"the state tree is not JSON: {error}") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def decode(node: Node, source: LeafSource, registry: TypeRegistry) -> Any:
    """The object of a node. CorruptError for a malformed node, UnsupportedError for an unknown kind of node."""
    return _Decoder(source, registry).value(node)


class _Decoder:
    def __init__(self, source: LeafSource, registry: TypeRegistry) -> None:
        self._source = source
        self._registry = registry
        self._depth = 0

    def value(self, node: Any) -> Any:
        # Few Python frames per level: 200 levels must fit under the interpreter's limit, below a framework's own stack.
        kind = type(node)
        if kind is not dict and kind is not list:
            return node
        self._depth += 1
        if self._depth > MAX_DEPTH + 1:
            raise CorruptError(f"the state tree is nested deeper than {MAX_DEPTH} levels")
        if kind is list:
            result = self._items(node)
        else:
            special = next((key for key in node if key[:1] == "$"), None)
            if special is None:
                result = self._members(node)
            else:
                reader = _reader(special, node)
                try:
                    result = reader(self, node[special])
                except (TypeError, ValueError, KeyError, AttributeError, struct.error, OverflowError) as error:
                    raise CorruptError(f"the state tree has a malformed {special!r} node: {error}") from None
        self._depth -= 1
        return result

    def _members(self, node: Dict[str, Any]) -> Dict[str, Any]:
        members = {}
        for key, item in node.items():
            members[key] = self.value(item)
        return members

    def _items(self, nodes: Any) -> Any:
        if type(nodes) is not list:
            raise ValueError("an array was expected")
        values = []
        for item in nodes:
            values.append(self.value(item))
        return values

    # ---- scalars

    def _int(self, text: Any) -> int:
        value = decimal_value(text)
        if value is None:
            raise ValueError(f"{text!r} is not a decimal integer")
        return value

    def _float(self, text: Any) -> float:
        if text == "nan":
            return math.nan
        if text in ("inf", "-inf"):
            return float(text)
        if text[:5] != "bits:" or len(text) != 21:
            raise ValueError(f"{text!r} is not nan, inf, -inf or bits")
        value: float = struct.unpack("<d", struct.pack("<Q", int(text[5:], 16)))[0]
        return value

    def _complex(self, parts: Any) -> complex:
        real, imaginary = self._items(parts)
        if not isinstance(real, float) or not isinstance(imaginary, float):
            raise ValueError("two floats were expected")
        return complex(real, imaginary)

    def _raw(self, body: Any) -> Any:
        if isinstance(body, dict):
            return self._source.blob(_text(body["entry"]))
        try:
            return base64.b64decode(_text(body), validate=True)
        except binascii.Error as error:
            raise ValueError(str(error)) from None

    def _bytearray(self, body: Any) -> Any:
        raw = self._raw(body)
        return bytearray(raw) if isinstance(raw, bytes) else raw

    def _scalar(self, body: Any) -> Any:
        numpy = import_numpy()
        kind = numpy_dtype(numpy, body["dtype"])
        raw = bytes.fromhex(_text(body["bytes"]))
        if len(raw) != kind.itemsize:
            raise ValueError("the bytes do not fit the dtype")
        return numpy.frombuffer(raw, dtype=kind)[0]

    def _enum(self, body: Any) -> Any:
        return self._registry.make_enum(_text(body["type"]), _text(body["name"]), self.value(body["value"]))

    # ---- containers

    def _tuple(self, nodes: Any) -> Any:
        return tuple(self._items(nodes))

    def _namedtuple(self, body: Any) -> Any:
        fields = [_text(field) for field in body["fields"]]
        values = self._items(body["values"])
        if len(fields) != len(values):
            raise ValueError("fields and values differ in number")
        return self._registry.make_namedtuple(_text(body["type"]), fields, values)

    def _pairs(self, nodes: Any) -> List[Any]:
        pairs = []
        for key, item in nodes:
            pairs.append((self.value(key), self.value(item)))
        return pairs

    def _dict(self, nodes: Any) -> Any:
        return dict(self._pairs(nodes))

    def _ordered_dict(self, nodes: Any) -> Any:
        return collections.OrderedDict(self._pairs(nodes))

    def _set(self, nodes: Any) -> Any:
        return set(self._items(nodes))

    def _frozenset(self, nodes: Any) -> Any:
        return frozenset(self._items(nodes))

    # ---- torch and NumPy

    def _size(self, nodes: Any) -> torch.Size:
        return torch.Size([whole(extent) for extent in nodes])

    def _dtype(self, text: Any) -> torch.dtype:
        found = getattr(torch, _text(text)[6:], None) if text.startswith("torch.") else None
        if not isinstance(found, torch.dtype):
            raise UnsupportedError(f"this torch ({torch.__version__}) has no dtype {text!r}")
        return found

    def _device(self, text: Any) -> torch.device:
        try:
            return torch.device(_text(text))
        except RuntimeError as error:
            raise UnsupportedError(f"this torch knows no device {text!r}: {error}") from None

    def _tensor(self, body: Any) -> Any:
        return self._source.tensor(body)

    def _array(self, body: Any) -> Any:
        return self._source.array(body)


_BY_KEY: Dict[str, Callable[[_Decoder, Any], Any]] = {
    "$int": _Decoder._int,
    "$float": _Decoder._float,
    "$complex": _Decoder._complex,
    "$bytes": _Decoder._raw,
    "$bytearray": _Decoder._bytearray,
    "$scalar": _Decoder._scalar,
    "$enum": _Decoder._enum,
    "$tuple": _Decoder._tuple,
    "$namedtuple": _Decoder._namedtuple,
    "$dict": _Decoder._dict,
    "$ordered_dict": _Decoder._ordered_dict,
    "$set": _Decoder._set,
    "$frozenset": _Decoder._frozenset,
    "$size": _Decoder._size,
    "$dtype": _Decoder._dtype,
    "$device": _Decoder._device,
    "$tensor": _Decoder._tensor,
    "$ndarray": _Decoder._array,
}


def _reader(key: str, node: Dict[str, Any]) -> Callable[[_Decoder, Any], Any]:
    if len(node) != 1:
        raise CorruptError(f"the state tree has a node with {key!r} and other members")
    reader = _BY_KEY.get(key)
    if reader is None:
        raise UnsupportedError(f"the state tree has a node {key!r}, which this version does not know")
    return reader


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a string was expected, not {type(value).__name__}")
    return value


def whole(value: Any) -> int:
    """A non-negative integer of a node; ValueError for anything else."""
    if type(value) is not int or value < 0:
        raise ValueError(f"a whole number was expected, not {value!r}")
    return value


def import_numpy() -> Any:
    """NumPy, or UnsupportedError when the checkpoint holds NumPy values and it is not installed."""
    try:
        import numpy
    except ImportError:
        raise UnsupportedError("the checkpoint holds NumPy values and NumPy is not installed") from None
    return numpy


def numpy_dtype(numpy: Any, text: Any) -> Any:
    """The dtype of a `dtype.str`; ValueError unless it is of a bool, integer, float or complex kind."""
    kind = numpy.dtype(_text(text))
    if kind.kind not in "biufc" or kind.fields is not None:
        raise ValueError(f"{text!r} is not a dtype of numbers")
    return kind
