"""What tensors look like: address, device, dtype, shape and strides. Tensors that look alike have their bytes in the
same place. A torch with the DLPack exchange of C is asked by the library, any other one attribute after the other."""

from __future__ import annotations

import ctypes
from operator import attrgetter
from typing import Any, List, Optional, Sequence, Tuple

import torch

from . import _abi
from ._errors import StillframeError

_address_of = torch.Tensor.data_ptr
_shape_of = attrgetter("shape")
_stride_of = torch.Tensor.stride
_dtype_of = attrgetter("dtype")
_device_of = attrgetter("device")


# Nested, sparse, meta or unshaped ones have no strides or no memory; the exchange says so in one of these.
LOOK_ERRORS = (RuntimeError, ValueError, BufferError, StillframeError)


class Look:
    """What some tensors looked like. Holds no tensor and no memory."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        access = _access()
        self._native = None if access is None else _NativeLook(access, tuple(tensors))
        self._seen = _describe(tensors) if self._native is None else ()
        # Only complex memory, or a part of a storage, is ever seen conjugated or negated at the same address.
        self._perhaps_lazy = [at for at, tensor in enumerate(tensors) if _may_be_lazy(tensor)]

    def fits(self, tensors: Sequence[torch.Tensor]) -> bool:
        """Whether these, one by one, look the same. Their types are the caller's to compare."""
        try:
            if self._native is not None:
                same = self._native.fits(tuple(tensors))
            else:
                same = _describe(tensors) == self._seen
        except LOOK_ERRORS:
            return False  # nested, sparse and the like have no strides or no memory
        return same and not any(tensors[at].is_neg() or tensors[at].is_conj() for at in self._perhaps_lazy)


def _describe(tensors: Sequence[torch.Tensor]) -> Tuple[List[Any], ...]:
    return tuple(list(map(of, tensors)) for of in (_address_of, _shape_of, _stride_of, _dtype_of, _device_of))


def _may_be_lazy(tensor: torch.Tensor) -> bool:
    return tensor.is_complex() or tensor.untyped_storage().nbytes() != tensor.nbytes


class _NativeLook:
    def __init__(self, access: _abi.TensorAccess, tensors: Tuple[torch.Tensor, ...]) -> None:
        self._handle = ctypes.c_void_p()
        self._library = _abi.locked_library()
        _abi.check(
            self._library.sf_look_create(ctypes.byref(access), tensors, len(tensors), ctypes.byref(self._handle))
        )

    def fits(self, tensors: Tuple[torch.Tensor, ...]) -> bool:
        fits = ctypes.c_int32()
        _abi.check(self._library.sf_look_fits(self._handle, tensors, len(tensors), ctypes.byref(fits)))
        return fits.value == 1

    def __del__(self) -> None:
        self._library.sf_look_destroy(self._handle)


class _Exchange(ctypes.Structure):
    """Of the DLPack exchange, major version 1."""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("older", ctypes.c_void_p),
        ("allocate", ctypes.c_void_p),
        ("take", ctypes.c_void_p),
        ("give", ctypes.c_void_p),
        ("view", ctypes.c_void_p),
    ]


_accesses: List[Optional[_abi.TensorAccess]] = []


def _access() -> Optional[_abi.TensorAccess]:
    """How the library looks at tensors; None where this torch has no way."""
    if not _accesses:
        _accesses.append(_find_access(getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)))
    return _accesses[0]


def _find_access(capsule: Any) -> Optional[_abi.TensorAccess]:
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    try:
        address = pointer_of(capsule, b"dlpack_exchange_api")
    except ValueError:
        return None
    exchange = _Exchange.from_address(address)
    if exchange.major != 1 or not exchange.view:
        return None
    item_of = ctypes.cast(ctypes.pythonapi.PyTuple_GetItem, ctypes.c_void_p)
    return _abi.TensorAccess(item_of, exchange.view)
