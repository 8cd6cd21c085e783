"""Restore into live objects: compare everything, read, then install.

Nothing is touched before names, dtypes and shapes agree. Parameters and buffers are read in place where the live
tensor is the entry (those on a GPU part by part, by way of the host); everything else is read into fresh memory and
installed afterwards.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import torch

from . import _accelerator
from ._buffers import BufferSource, SpecSource, TensorSpec, allocate, saved_device_or_cpu
from ._decode import decode
from ._errors import CorruptError, MismatchError, NotFoundError, StillframeError, UnavailableError
from ._metrics import metric_value
from ._path import display
from ._reader import Candidate, Reader, Skipped
from ._scaler import is_scaler, scaler_numbers
from ._shards import local_of, shard_like
from ._state import Path, TrainingState, each, set_rng_state, with_counters
from ._types import TypeRegistry


@dataclass(frozen=True)
class Restored:
    """What restore() did. `source`: "memory" when it came from the image that a killed predecessor left with the daemon,
    which is called "memory-…" until it is durable; else "store". `seconds`: from its opening to the last tensor in place.
    """

    step: int
    extra: Any
    metrics: Dict[str, Any]
    name: str
    skipped: List[Skipped]
    seconds: float
    state: Any = None
    source: str = "store"


@dataclass
class Placement:
    """A tensor of a module and what the checkpoint has for it."""

    spec: TensorSpec
    live: torch.Tensor


@dataclass
class _Match:
    """The comparison of a checkpoint with the live objects."""

    differences: List[str] = field(default_factory=list)
    placements: List[Placement] = field(default_factory=list)
    extra_states: List[Tuple[Any, str, Path]] = field(default_factory=list)


# Copies (address on the GPU, address on the host, bytes) to the GPU of that ordinal.
PlaceOnGpu = Callable[[int, Sequence[Tuple[int, int, int]]], None]
_PART_BYTES = 256 << 20  # host memory for what goes to a GPU, or one entry where that is larger
_TOUCHED = "The objects to be restored are partly overwritten: do not train on with them."


@dataclass(frozen=True)
class PassedOver:
    """An image in memory that was given up, and for what. `touched`: while it was being read into the live objects."""

    what: Skipped
    error: StillframeError
    touched: bool


def restore_from_memory(reader: Reader, step: Optional[int], state: TrainingState,
                        place: PlaceOnGpu) -> Union[None, Restored, PassedOver]:
    """From the image that a killed predecessor left; None where it is of another step."""
    begin = time.monotonic()
    candidate: Optional[Candidate] = None
    with reader:
        try:
            candidate = reader.candidate()
            if step is not None and candidate.step != step:
                return None
            extra, rest = _restore_one(reader, candidate, state, place)
        except CorruptError as error:
            if candidate is None:
                return PassedOver(Skipped(reader.name(), -1 if step is None else step, str(error)), error, touched=False)
            return PassedOver(Skipped(candidate.name, candidate.step, str(error)), error, touched=True)
        return _restored(reader, candidate, extra, rest, begin, [])


def restore_into(address: str, rank: int, state: TrainingState, place: PlaceOnGpu,
                 before: Optional[PassedOver]) -> Restored:
    """From the store. `before`: what was tried first and could not be read; a restore that fails behind it is a
    CorruptError where it has touched the live objects. Where the store has nothing it is one where bytes were bad, and an
    UnavailableError where nobody could be asked for them."""
    passed_over = [] if before is None else [before.what]
    try:
        return _restore_into(address, rank, state, place, passed_over)
    except StillframeError as error:
        if before is None or not (before.touched or isinstance(error, NotFoundError)):
            raise
        end = _TOUCHED if before.touched else "Nothing was touched"
        kind = CorruptError if before.touched or isinstance(before.error, CorruptError) else UnavailableError
        raise kind(f"{before.what.name} was passed over: {before.what.reason}. Then: {error}. {end}") from error


def _restore_into(address: str, rank: int, state: TrainingState, place: PlaceOnGpu, passed_over: List[Skipped]) -> Restored:
    begin = time.monotonic()
    with Reader(address, rank) as reader:
        (extra, rest), candidate = reader.newest(lambda one: _restore_one(reader, one, state, place), _TOUCHED)
        return _restored(reader, candidate, extra, rest, begin, passed_over)


def _restored(reader: Reader, candidate: Candidate, extra: Any, rest: Any, begin: float,
              passed_over: List[Skipped]) -> Restored:
    metrics = {name: metric_value(node) for name, node in candidate.metrics.items()}
    skipped = passed_over + reader.skipped()
    seconds = time.monotonic() - begin
    return Restored(candidate.step, extra, metrics, candidate.name, skipped, seconds, rest, reader.source())


def _restore_one(reader: Reader, candidate: Candidate, state: TrainingState,
                 place: PlaceOnGpu) -> Tuple[Any, Any]:
    specs = SpecSource(candidate.entries)
    saved = decode(candidate.tree, specs, TypeRegistry())
    match = _compare(saved, state)
    if match.differences:
        listed = "\n  ".join(match.differences)
        raise MismatchError(
            f"{candidate.name} does not fit the live objects; nothing was touched:\n  {listed}",
            tuple(match.differences),
        )
    _materialise(match.placements)
    in_place = _in_place(match)
    targets = {name: live for name, live in in_place.items() if _accelerator.device_of(live) == _accelerator.HOST}
    targets.update((name, allocate(candidate.entries[name])) for name in specs.used if name not in in_place)
    reader.read(candidate, targets)
    on_gpu = {name: live for name, live in in_place.items() if name not in targets}
    for part in _parts(on_gpu):
        _read_onto_gpu(reader, candidate, part, place)
    source = BufferSource(candidate.entries, {**targets, **on_gpu}, devices_here(match.placements))
    with torch.no_grad():
        _place(match.placements, source)
        full = decode(candidate.tree, source, TypeRegistry())
        _install(full, match, state)
    return full.get("extra"), full.get("state")


# ---- compare


def _compare(saved: Any, state: TrainingState) -> _Match:
    match = _Match()
    if not isinstance(saved, dict):
        match.differences.append("the checkpoint holds a tree of its own: read it with stillframe.load()")
        return match
    for path, module in each("model", state.model):
        _compare_module(path, _member(saved, path, match), module, match)
    for path, optimizer in each("optimizer", state.optimizer):
        _compare_optimizer(path, _member(saved, path, match), optimizer, match)
    for path, _ in each("scheduler", state.scheduler):
        _member(saved, path, match)
    if state.rng:
        _member(saved, ("rng",), match)
    if isinstance(state.state, dict):
        for name in state.state:
            _member(saved, ("state", name), match)
    return match


def _member(saved: Any, path: Path, match: _Match) -> Any:
    """What stands at `path`; None, and a difference, when there is nothing."""
    found = saved
    for part in path:
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list) and isinstance(part, int) and part < len(found):
            found = found[part]
        else:
            match.differences.append(f"{display(path)}: not in the checkpoint")
            return None
    return found


def _compare_module(path: Path, saved: Any, module: Any, match: _Match) -> None:
    if saved is None:
        return
    live = module.state_dict(keep_vars=True) if isinstance(module, torch.nn.Module) else module.state_dict()
    if not isinstance(saved, Mapping):
        match.differences.append(f"{display(path)}: the checkpoint has a {type(saved).__name__} here")
        return
    live = {key: local_of(value) if isinstance(value, torch.Tensor) else value for key, value in live.items()}
    for key in live:
        if key not in saved:
            match.differences.append(f"{display((*path, key))}: not in the checkpoint")
    for key, found in saved.items():
        here = display((*path, key))
        if key not in live:
            match.differences.append(f"{here}: in the checkpoint only ({_describe(found)})")
        elif isinstance(live[key], torch.Tensor) and isinstance(found, TensorSpec):
            if _fits(here, found, live[key], match):
                match.placements.append(Placement(found, live[key]))
        elif key.rpartition(".")[2] == "_extra_state":
            match.extra_states.append((module, key, (*path, key)))
        else:
            match.differences.append(f"{here}: {_describe(found)} in the checkpoint, {_describe(live[key])} here")


def _fits(here: str, spec: TensorSpec, live: torch.Tensor, match: _Match) -> bool:
    if _is_lazy(live):
        return True
    if live.is_meta:
        match.differences.append(f"{here}: no memory to restore into (it is on device 'meta'): give the model its memory first")
        return False
    if spec.dtype == live.dtype and spec.shape == tuple(live.shape):
        return True
    match.differences.append(f"{here}: {spec.describe()} in the checkpoint, {_describe(live)} here")
    return False


def _compare_optimizer(path: Path, saved: Any, optimizer: Any, match: _Match) -> None:
    if saved is None:
        return
    try:
        groups = [len(group["params"]) for group in saved["param_groups"]]
        saved["state"].items()
    except (TypeError, KeyError, AttributeError):
        match.differences.append(f"{display(path)}: the checkpoint has no optimizer's state here")
        return
    here = [len(group["params"]) for group in optimizer.param_groups]
    if groups != here:
        match.differences.append(
            f"{display(path)}: groups of {groups} parameters in the checkpoint, of {here} parameters here"
        )


def _describe(value: Any) -> str:
    if isinstance(value, TensorSpec):
        return value.describe()
    if isinstance(value, torch.Tensor):
        return f"{value.dtype} {list(value.shape)}"
    return f"a {type(value).__name__}"


def _is_lazy(tensor: torch.Tensor) -> bool:
    return isinstance(tensor, (torch.nn.UninitializedParameter, torch.nn.UninitializedBuffer))


# ---- read


def _materialise(placements: List[Placement]) -> None:
    for one in placements:
        if isinstance(one.live, (torch.nn.UninitializedParameter, torch.nn.UninitializedBuffer)):
            one.live.materialize(one.spec.shape, dtype=one.spec.dtype)


def _in_place(match: _Match) -> Dict[str, torch.Tensor]:
    """By entry, the live tensors that are the whole of one, where they can be written to as they are."""
    found: Dict[str, torch.Tensor] = {}
    taken = set()
    for one in match.placements:
        live = one.live.detach()
        writable = one.spec.whole and live.is_contiguous() and _accelerator.device_of(live) != _accelerator.STAGED
        if writable and one.spec.entry not in found and live.data_ptr() not in taken:
            found[one.spec.entry] = live
            taken.add(live.data_ptr())
    return found


def _parts(tensors: Dict[str, torch.Tensor]) -> Iterator[Dict[str, torch.Tensor]]:
    part: Dict[str, torch.Tensor] = {}
    part_bytes = 0
    for name, tensor in tensors.items():
        if part and part_bytes + tensor.nbytes > _PART_BYTES:
            yield part
            part, part_bytes = {}, 0
        part[name] = tensor
        part_bytes += tensor.nbytes
    if part:
        yield part


def _read_onto_gpu(reader: Reader, candidate: Candidate, part: Dict[str, torch.Tensor], place: PlaceOnGpu) -> None:
    staged = {name: allocate(candidate.entries[name]) for name in part}
    reader.read(candidate, staged)
    copies: Dict[int, List[Tuple[int, int, int]]] = {}
    for name, live in part.items():
        copy = (live.data_ptr(), staged[name].data_ptr(), live.nbytes)
        copies.setdefault(_accelerator.device_of(live), []).append(copy)
    for gpu, listed in copies.items():
        place(gpu, listed)


# ---- install


def devices_here(placements: List[Placement]) -> Callable[[str], torch.device]:
    """Which device stands for one that was saved: the one that the model's tensors from there are on now. What rank 0 saved
    for all would else go to the GPU of rank 0 from every process, and so would the state of its optimizer."""
    now: Dict[str, torch.device] = {}
    for one in placements:
        if one.spec.device != "cpu":  # counters of steps stay there
            now.setdefault(one.spec.device, one.live.device)
    return lambda saved: now[saved] if saved in now else saved_device_or_cpu(saved)


def _place(placements: List[Placement], source: BufferSource) -> None:
    for one in placements:
        found = source.view(one.spec)
        if found.data_ptr() != one.live.data_ptr() or found.stride() != one.live.stride():
            one.live.copy_(found)


def _install(full: Dict[str, Any], match: _Match, state: TrainingState) -> None:
    for module, key, path in match.extra_states:
        owner = module.get_submodule(key.rpartition(".")[0])
        owner.set_extra_state(_at(full, path))
    for path, module in each("model", state.model):
        if not isinstance(module, torch.nn.Module):
            module.load_state_dict(_at(full, path))
    for path, optimizer in each("optimizer", state.optimizer):
        install_optimizer(optimizer, _at(full, path))
    for path, scheduler in each("scheduler", state.scheduler):
        scheduler.load_state_dict(with_counters(_at(full, path), scheduler.state_dict()))
    if isinstance(state.state, dict):
        for name, value in state.state.items():
            if hasattr(value, "load_state_dict"):
                saved = full["state"][name]
                value.load_state_dict(scaler_numbers(saved) if is_scaler(value) else saved)
    if state.rng:
        set_rng_state(full["rng"])


def _at(tree: Any, path: Path) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def install_optimizer(optimizer: Any, saved: Dict[str, Any]) -> None:
    """Puts a saved state_dict() into an optimizer entry by entry. Unlike load_state_dict() it never casts: a state
    tensor keeps the dtype it was saved with, and only moves to its parameter's device. State that the checkpoint has
    not goes."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for group, found in zip(optimizer.param_groups, saved["param_groups"]):
        group.update((key, value) for key, value in found.items() if key != "params")
    # Saved parameters are numbered group by group, but a group lists its own numbers: follow those.
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    by_number = dict(zip(numbers, parameters))
    optimizer.state.clear()
    for key, value in saved["state"].items():
        parameter = by_number.get(key)
        if parameter is None:
            optimizer.state[key] = value
        else:
            optimizer.state[parameter] = _beside(value, parameter)


def _beside(value: Any, parameter: torch.Tensor) -> Any:
    """On the device of its parameter, and spread over the processes like it."""
    if isinstance(value, torch.Tensor):
        # A scalar on the host beside parameters of an accelerator is a step counter that belongs there.
        stays = value.dim() == 0 and value.device.type == "cpu"
        return value if stays else shard_like(value.to(parameter.device), parameter)
    if type(value) is dict:
        return {key: _beside(item, parameter) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_beside(item, parameter) for item in value)
    return value
