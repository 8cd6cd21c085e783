"""Helpers of the tests: a round trip without the library, and bit-exact comparison of any two trees."""

from __future__ import annotations

import ctypes
import struct
from typing import Any, Iterable, List

import numpy
import torch

from stillframe._buffers import BufferSource, EntryInfo, allocate, map_location
from stillframe._decode import decode, parse
from stillframe._types import TypeRegistry
from stillframe._walk import Walk, walk


def entry_bytes(walked: Walk) -> List[bytes]:
    """What the library would copy out of the addresses of a walk."""
    addresses, alive = walked.pointers()
    raw = [
        ctypes.string_at(address, entry.bytes) if entry.bytes else b""
        for address, entry in zip(addresses, walked.entries)
    ]
    del alive
    return raw


def round_trip(value: Any, types: Iterable[type] = ()) -> Any:
    """Through JSON text and byte strings and back, as a store would do it."""
    walked = walk(value)
    infos, buffers = {}, {}
    for entry, raw in zip(walked.entries, entry_bytes(walked)):
        info = EntryInfo(entry.name, entry.dtype, entry.shape)
        assert info.bytes() == entry.bytes == len(raw), entry.name
        buffer = allocate(info)
        assert buffer.nbytes == len(raw), entry.name
        ctypes.memmove(buffer.data_ptr(), raw, len(raw))
        infos[entry.name], buffers[entry.name] = info, buffer
    source = BufferSource(infos, buffers, map_location("cpu"))
    return decode(parse(walked.tree_json), source, TypeRegistry(types))


def same(left: Any, right: Any) -> bool:
    """Equal in type, order and every bit; tensors also in dtype, shape, stride and flags."""
    if type(left) is not type(right):
        return False
    if isinstance(left, torch.Tensor):
        return _same_tensor(left, right)
    if isinstance(left, numpy.ndarray):
        return bool(
            left.dtype == right.dtype
            and left.shape == right.shape
            and left.flags.f_contiguous == right.flags.f_contiguous
            and left.tobytes() == right.tobytes()
        )
    if isinstance(left, numpy.generic):
        return bool(left.dtype == right.dtype and left.tobytes() == right.tobytes())
    if isinstance(left, float):
        return struct.pack("<d", left) == struct.pack("<d", right)
    if isinstance(left, complex):
        return same(left.real, right.real) and same(left.imag, right.imag)
    if isinstance(left, dict):
        return same(list(left.keys()), list(right.keys())) and same(list(left.values()), list(right.values()))
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right))
    return bool(left == right)


def _same_tensor(left: torch.Tensor, right: torch.Tensor) -> bool:
    if (left.dtype, left.shape, left.stride()) != (right.dtype, right.shape, right.stride()):
        return False
    if left.requires_grad != right.requires_grad or left.device != right.device:
        return False
    return tensor_bytes(left) == tensor_bytes(right)


def tensor_bytes(tensor: torch.Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous()
    return ctypes.string_at(plain.data_ptr(), plain.nbytes) if plain.nbytes else b""
