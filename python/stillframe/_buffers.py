"""The reading side of entries: memory for them, and the tensors, arrays and bytes that a tree makes of them."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any, Callable, Dict, Optional, Tuple, Union

import torch

from . import _accelerator
from ._decode import import_numpy, numpy_dtype, whole
from ._dtypes import TORCH_BY_NAME, name_of_numpy
from ._errors import CorruptError, UnsupportedError
from ._walk import c_strides


@dataclass(frozen=True)
class EntryInfo:
    """An entry as the manifest has it: `shape` elements of `dtype`, in the image of `rank`."""

    name: str
    dtype: str
    shape: Tuple[int, ...]
    rank: int = 0

    def torch_dtype(self) -> torch.dtype:
        return _torch_dtype(self.dtype)

    def bytes(self) -> int:
        return math.prod(self.shape) * self.torch_dtype().itemsize


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of a tree before its bytes are read: what it looks like and where in its entry it is. `stride` and
    `offset` in elements; `whole`: it is the entry itself."""

    entry: str
    dtype: torch.dtype
    shape: Tuple[int, ...]
    stride: Tuple[int, ...]
    offset: int
    whole: bool
    parameter: bool
    requires_grad: bool
    device: str

    def describe(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


class SpecSource:
    """A LeafSource that gives TensorSpecs, and for the rest the name of its entry: a tree's structure without bytes.
    `used` gains the entries met."""

    def __init__(self, entries: Dict[str, EntryInfo]) -> None:
        self._entries = entries
        self.used: Dict[str, None] = {}

    def tensor(self, body: Union[str, Dict[str, Any]]) -> Any:
        spec = tensor_spec(body, self._entries)
        self.used[spec.entry] = None
        return spec

    def array(self, body: Dict[str, Any]) -> Any:
        return self.blob(body["entry"])

    def blob(self, entry: str) -> Any:
        _known(entry, self._entries)
        self.used[entry] = None
        return entry


class BufferSource:
    """A LeafSource over filled memory. `locate` turns the device a tensor was saved on into the one it shall be on."""

    def __init__(self, entries: Dict[str, EntryInfo], buffers: Dict[str, torch.Tensor],
                 locate: Callable[[str], torch.device]) -> None:
        self._entries = entries
        self._buffers = buffers
        self._locate = locate
        self._moved: Dict[Tuple[str, torch.device], torch.Tensor] = {}
        self._whole: Dict[Tuple[Any, ...], torch.Tensor] = {}
        self._arrays: Dict[Tuple[Any, ...], Any] = {}

    def tensor(self, body: Union[str, Dict[str, Any]]) -> Any:
        spec = tensor_spec(body, self._entries)
        # The same object twice for a tie of whole tensors, as it was in the state that was saved.
        key = (spec.entry, spec.parameter, spec.requires_grad, spec.device)
        if spec.whole and key in self._whole:
            return self._whole[key]
        made = _dress(_view(self._buffer_on(spec.entry, spec.device), spec), spec)
        if spec.whole:
            self._whole[key] = made
        return made

    def view(self, spec: TensorSpec) -> torch.Tensor:
        """The tensor of a spec over the memory that was read, on the device of that memory; no Parameter."""
        return _view(self._buffers[spec.entry], spec)

    def array(self, body: Dict[str, Any]) -> Any:
        numpy = import_numpy()
        entry, kind = _known(body["entry"], self._entries), numpy_dtype(numpy, body["dtype"])
        shape, order = tuple(whole(extent) for extent in body["shape"]), body["order"]
        key = (entry.name, kind.str, shape, order)
        if key in self._arrays:
            return self._arrays[key]
        fits = name_of_numpy(kind.str) == entry.dtype and math.prod(shape) == math.prod(entry.shape)
        if not fits or order not in ("C", "F"):
            raise CorruptError(f"the state tree has an array that does not fit its entry {entry.name!r}")
        raw = _bytes_of(self._on_host(entry.name)).numpy()
        made = raw.view(kind.newbyteorder("<")).reshape(shape, order=order)
        self._arrays[key] = made.astype(kind) if kind.str[:1] == ">" else made
        return self._arrays[key]

    def blob(self, entry: str) -> bytes:
        _known(entry, self._entries)
        raw = self._on_host(entry)
        return ctypes.string_at(raw.data_ptr(), raw.nbytes) if raw.nbytes else b""

    def _on_host(self, entry: str) -> torch.Tensor:
        if _accelerator.device_of(self._buffers[entry]) != _accelerator.HOST:
            raise CorruptError(f"the state tree has the tensor of a GPU at {entry!r} once more as something else")
        return self._buffers[entry]

    def _buffer_on(self, entry: str, saved_device: str) -> torch.Tensor:
        buffer, device = self._buffers[entry], self._locate(saved_device)
        if buffer.device == device:
            return buffer
        key = (entry, device)
        if key not in self._moved:
            self._moved[key] = buffer.to(device)
        return self._moved[key]


def allocate(info: EntryInfo) -> torch.Tensor:
    """Memory for an entry on the host, not yet filled."""
    return torch.empty(info.shape, dtype=info.torch_dtype())


def entries_of(listed: Any, rank: int) -> Dict[str, EntryInfo]:
    """The entries of a rank of a manifest, by name."""
    entries: Dict[str, EntryInfo] = {}
    try:
        for item in listed:
            info = EntryInfo(item["name"], item["dtype"], tuple(whole(extent) for extent in item["shape"]), rank)
            entries[info.name] = info
    except (TypeError, KeyError, ValueError) as error:
        raise CorruptError(f"the manifest's list of entries is malformed: {error!r}") from None
    return entries


def tensor_spec(body: Union[str, Dict[str, Any]], entries: Dict[str, EntryInfo]) -> TensorSpec:
    """What a "$tensor" node says. CorruptError when it names no entry or reaches out of it."""
    if isinstance(body, str):
        body = {"entry": body}
    entry = _known(body["entry"], entries)
    flags = (bool(body.get("parameter")), bool(body.get("requires_grad")), str(body.get("device", "cpu")))
    if "dtype" not in body:
        stride = c_strides(entry.shape)
        return TensorSpec(entry.name, entry.torch_dtype(), entry.shape, stride, 0, True, *flags)
    shape = tuple(whole(extent) for extent in body["shape"])
    stride = tuple(whole(step) for step in body["stride"])
    spec = TensorSpec(entry.name, _torch_dtype(body["dtype"]), shape, stride, whole(body["offset"]), False, *flags)
    _check_inside(spec, entry)
    return spec


def _check_inside(spec: TensorSpec, entry: EntryInfo) -> None:
    reach = 0
    if all(spec.shape):
        reach = spec.offset + 1 + sum((extent - 1) * step for extent, step in zip(spec.shape, spec.stride))
    if len(spec.shape) != len(spec.stride) or reach * spec.dtype.itemsize > entry.bytes():
        raise CorruptError(f"the state tree has a tensor that reaches out of its entry {entry.name!r}")


def _known(name: Any, entries: Dict[str, EntryInfo]) -> EntryInfo:
    entry = entries.get(name) if isinstance(name, str) else None
    if entry is None:
        raise CorruptError(f"the state tree names an entry {name!r} that the checkpoint does not have")
    return entry


def _torch_dtype(name: Any) -> torch.dtype:
    found = TORCH_BY_NAME.get(name) if isinstance(name, str) else None
    if found is None:
        raise UnsupportedError(f"this torch ({torch.__version__}) has no dtype for {name!r}")
    return found


def _bytes_of(buffer: torch.Tensor) -> torch.Tensor:
    raw = torch.empty(0, dtype=torch.uint8, device=buffer.device)
    start = buffer.storage_offset() * buffer.element_size()
    return raw.set_(buffer.untyped_storage(), start, (buffer.nbytes,))  # type: ignore[call-overload, no-any-return]


def _view(buffer: torch.Tensor, spec: TensorSpec) -> torch.Tensor:
    buffer = buffer.detach()
    if spec.whole:
        return buffer
    if buffer.dtype == spec.dtype:
        return torch.as_strided(buffer, spec.shape, spec.stride, buffer.storage_offset() + spec.offset)
    made = torch.empty(0, dtype=spec.dtype, device=buffer.device)
    start = buffer.storage_offset() * buffer.element_size() // spec.dtype.itemsize + spec.offset
    return made.set_(buffer.untyped_storage(), start, spec.shape, spec.stride)


def _dress(tensor: torch.Tensor, spec: TensorSpec) -> torch.Tensor:
    if spec.parameter:
        return torch.nn.Parameter(tensor, requires_grad=spec.requires_grad)
    return tensor.requires_grad_() if spec.requires_grad else tensor


def map_location(wanted: Optional[Union[str, torch.device]]) -> Callable[[str], torch.device]:
    """`locate` for BufferSource: everything to `wanted`; None: where it was saved if this machine has that, else
    cpu."""
    if wanted is not None:
        fixed = torch.device(wanted)
        return lambda saved: fixed
    return saved_device_or_cpu


def saved_device_or_cpu(saved: str) -> torch.device:
    device = torch.device(saved)
    if device.type == "cuda" and (device.index or 0) < torch.cuda.device_count():
        return device
    return torch.device("cpu")
