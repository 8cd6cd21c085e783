"""The walk of a training state whose structure has not changed since the walk before.

Of plain models and optimizers (_live.py) the entries and the text are kept, with holes in the text for every value that
is no tensor. A call compares the structure, and what each tensor looks like (_look.py); then it fills the holes with
the values of the moment. Between calls only modules and the dicts of modules and groups are held: no tensor, no memory.

Where anything differs it is made anew, and where it cannot be kept everything is walked.
"""

from __future__ import annotations

import bisect
import contextlib
import ctypes
import re
import secrets
from operator import attrgetter, itemgetter
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch

from . import _accelerator
from ._live import LiveModule, LiveOptimizer, NotPlain, flat, same_objects
from ._look import LOOK_ERRORS, Look
from ._shards import is_shard
from ._state import Path, TrainingState, each, gather
from ._tree import Node, dump, encode
from ._versions import VersionRecord
from ._walk import Layout, Sink, Walk, metric_entry, pointers, storage_id, walk

_requires_grad = attrgetter("requires_grad")
_storage_of = torch.Tensor.untyped_storage
_STEADY = frozenset({int, float, bool, str, type(None)})
_TOKEN = secrets.token_hex(16)
_TOKEN_IN_TEXT = re.compile(f'"{_TOKEN}:(\\d+)"')


class _Now(NamedTuple):
    """What is gathered at a call: everything in a fixed order, and the tensors of it, each once."""

    values: List[Any]
    tensors: Sequence[torch.Tensor]


class CachedWalk:
    """A walk of which only `late`, the entries outside of models and optimizers, was made for this call."""

    def __init__(self, kept: "_Kept", tensors: Sequence[torch.Tensor], late: Sink, text: bytes) -> None:
        self._kept = kept
        # Not the tensors: one whose .data is replaced would let go of memory that is still being copied.
        self._storages = list(map(_storage_of, tensors))
        names, guarded = kept.guarded_names, kept.guarded_of(tensors)
        if late.guarded:
            names = [*names, *(name for name, _ in late.guarded)]
            guarded = [*guarded, *(tensor for _, tensor in late.guarded)]
        self._record = VersionRecord(names, guarded)
        self._late = late.entries
        self._text = text

    def add_metric(self, name: str, tensor: torch.Tensor) -> str:
        # No part of a training state is called "metrics".
        entry = metric_entry(name, tensor, {entry.name for entry in self._late})
        self._late.append(entry)
        return entry.name

    def layout(self) -> Layout:
        return self._kept.layout_with(tuple(entry.layout() for entry in self._late))

    def pointer_array(self) -> Tuple[Any, List[Any]]:
        """One address per entry, and what keeps them valid. The next walk writes into the same array."""
        addresses, alive = pointers(self._late)
        return self._kept.pointers_with(addresses), [self._storages, alive]

    def tree_utf8(self) -> bytes:
        return self._text

    def record(self) -> VersionRecord:
        return self._record


class WalkCache:
    """Walks one TrainingState again and again."""

    def __init__(self, state: TrainingState) -> None:
        self._state = state
        self._kept: Optional[_Kept] = None

    def take(self, extra: Any) -> Union[Walk, CachedWalk]:
        """What walk() gives for the state of this moment. TypeError as there."""
        rest = self._state.rest(extra)
        now = self._kept.compare() if self._kept is not None else None
        if now is None:
            self._kept = _keep(self._state, rest)
            now = self._kept.compare() if self._kept is not None else None
        if self._kept is not None and now is not None:
            try:
                found = self._kept.walk(now, rest)
            except NotPlain:
                self._kept = found = None
            if found is not None:
                return found
        return _walk_all(self._state, {**self._state.tracked(), **rest})

    def prepare(self) -> None:
        """Walks now what the next take() would otherwise walk, where it can be kept. What goes wrong is left to that."""
        with contextlib.suppress(Exception):
            if self._kept is None or self._kept.compare() is None:
                self._kept = _keep(self._state, self._state.rest(None))

    def forget(self) -> None:
        """What is guarded has changed."""
        self._kept = None


def _walk_all(state: TrainingState, tree: Dict[str, Any]) -> Walk:
    guarded, trained = state.storages()
    return walk(tree, guarded, trained_storages=trained, staged_storages=state.demoted_storages())


def _keep(state: TrainingState, rest: Dict[str, Any]) -> "Optional[_Kept]":
    try:
        return _Kept(state, list(rest))
    except NotPlain:
        return None


class _Hole:
    """A value that is written into the text at every call. `find` takes the values of the structure, and the parts of
    the tree that are not kept."""

    def __init__(self, path: Path, find: Callable[[List[Any], Dict[str, Any]], Any]) -> None:
        self.find = find
        self._path = path
        self._type: type = type(None)
        self._members: Optional[List[Any]] = None  # the text stands as long as they are the same objects
        self._text = b""

    def fill(self, value: Any, sink: Sink) -> Union[bytes, Node]:
        """The text, or a node that is whole once the sink is completed."""
        members = _members(value)
        if self._members is not None and type(value) is self._type and same_objects(members, self._members):
            return self._text
        # Every part of the path is a container that the tree is inside of here.
        node = encode(value, sink, self._path, depth=len(self._path))
        steady = set(map(type, members)) <= _STEADY
        self._members = members if steady else None
        if not steady:
            return node
        self._type, self._text = type(value), _utf8(node)
        return self._text


def _utf8(node: Node) -> bytes:
    return dump(node).encode("utf-8")


def _members(value: Any) -> List[Any]:
    return list(value) if type(value) in (list, tuple) else [value]


class _Kept:
    """The walk of the models and optimizers at one moment, and what has to be as it was so that it still holds."""

    def __init__(self, state: TrainingState, rest: List[str]) -> None:
        self._state = state
        self._places, self._objects = _objects_of(state)
        self._modules = [LiveModule(module) for _, module in each("model", state.model)]
        self._optimizers = [LiveOptimizer(optimizer) for _, optimizer in each("optimizer", state.optimizer)]
        self._lives: List[Union[LiveModule, LiveOptimizer]] = [*self._modules, *self._optimizers]
        values = self._gather()
        if values is None:
            raise NotPlain
        self._types = list(map(type, values))
        self._index_tensors(values)
        self._refuse_what_is_staged(self._tensors_of(values))
        # Only now: what cannot be kept has not been walked in vain.
        self._holes: List[_Hole] = []
        walked = _walk_all(state, self._tree(state, rest))
        pieces = _TOKEN_IN_TEXT.split(walked.tree_json)
        self._texts = [piece.encode("utf-8") for piece in pieces[::2]]
        self._holes = [self._holes[int(number)] for number in pieces[1::2]]
        self._index_guarded(self._tensors_of(values), walked)
        self._layout = walked.layout()
        self._whole_layout: Tuple[Layout, Layout] = ((), self._layout)
        self._addresses = [entry.address for entry in walked.entries]
        self._array: Any = (ctypes.c_void_p * len(self._addresses))(*self._addresses)

    # ---- making it

    def _tree(self, state: TrainingState, rest: List[str]) -> Dict[str, Any]:
        """The tree of the moment, with tokens in place of what is no tensor of a model or of an optimizer's state."""
        tree = state.tracked()
        at = sum(len(module.saved) for module in self._modules)
        lives = iter(zip(each("optimizer", state.optimizer), self._optimizers))

        def with_holes(optimizer: Any) -> Dict[str, Any]:
            nonlocal at
            (path, _), live = next(lives)
            packed = optimizer.state_dict()
            at += live.parameters + live.keys
            states: Dict[Any, Dict[str, Any]] = {}
            for key, members in packed["state"].items():
                states[key] = {}
                for name, value in members.items():
                    states[key][name] = self._member((*path, "state", key, name), value, at)
                    at += 1
            groups = []
            for index, group in enumerate(live.groups):
                here = (*path, "param_groups", index)
                members = {key: self._hole((*here, key), _item(group, key)) for key in group if key != "params"}
                groups.append({**members, "params": packed["param_groups"][index]["params"]})
            return {"state": states, "param_groups": groups}

        if state.optimizer is not None:
            tree["optimizer"] = gather(state.optimizer, with_holes)
        for name in rest:
            tree[name] = self._hole((name,), _part(name))
        return tree

    def _member(self, path: Path, value: Any, at: int) -> Any:
        if isinstance(value, torch.Tensor):
            return value
        if type(value) not in _STEADY:
            raise NotPlain
        return self._hole(path, lambda values, rest: values[at])

    def _hole(self, path: Path, find: Callable[[List[Any], Dict[str, Any]], Any]) -> str:
        self._holes.append(_Hole(path, find))
        return f"{_TOKEN}:{len(self._holes) - 1}"

    def _index_tensors(self, values: List[Any]) -> None:
        """Which of the values are tensors of the tree or of an optimizer, each once, and what they look like."""
        saved = flat(module.saved for module in self._modules)
        counted = [*saved, *([True] * (len(values) - len(saved)))]
        first: Dict[int, int] = {}
        again: List[Tuple[int, int]] = []
        for at, value in enumerate(values):
            if counted[at] and isinstance(value, torch.Tensor):
                if id(value) in first:
                    again.append((at, first[id(value)]))
                else:
                    first[id(value)] = at
        self._tensors_of = _picker(list(first.values()))
        self._again_of = _picker([at for at, _ in again])
        self._firsts_of = _picker([at for _, at in again])
        tensors = self._tensors_of(values)
        if any(map(is_shard, tensors)):
            raise NotPlain
        self._optimizers_of = _picker(self._positions_of_optimizers(len(saved), values))
        self._flags = list(map(_requires_grad, self._optimizers_of(values)))
        try:
            self._look = Look(tensors)
        except LOOK_ERRORS as error:
            raise NotPlain from error
        ranges = {(storage.data_ptr(), storage.data_ptr() + storage.nbytes()) for storage in map(_storage_of, tensors)}
        self._begins = sorted(begin for begin, _ in ranges)
        self._ends = sorted(end for _, end in ranges)

    def _refuse_what_is_staged(self, tensors: Sequence[torch.Tensor]) -> None:
        """What has to be brought to the host at every call has no address to keep."""
        staged = self._state.demoted_storages()
        for tensor in tensors:
            device = _accelerator.device_of(tensor)
            if device == _accelerator.STAGED or (device != _accelerator.HOST and storage_id(tensor) in staged):
                raise NotPlain

    def _index_guarded(self, tensors: Sequence[torch.Tensor], walked: Walk) -> None:
        names = {storage_id(tensor): name for name, tensor in reversed(walked.guarded)}
        exact = {(storage_id(tensor), tensor.data_ptr()): name for name, tensor in reversed(walked.guarded)}
        keys = [(storage_id(tensor), tensor.data_ptr()) for tensor in tensors]
        guarded = [at for at, key in enumerate(keys) if key[0] in names]
        self.guarded_of = _picker(guarded)
        self.guarded_names = [exact.get(keys[at], names[keys[at][0]]) for at in guarded]

    def _positions_of_optimizers(self, at: int, values: List[Any]) -> List[int]:
        """Of what the optimizers train, and of the tensors of their state. (What a module holds is saved detached.)"""
        positions: List[int] = []
        for optimizer in self._optimizers:
            positions += range(at, at + optimizer.parameters)
            state = range(at + optimizer.parameters + optimizer.keys, at + optimizer.size)
            positions += [one for one in state if isinstance(values[one], torch.Tensor)]
            at += optimizer.size
        return positions

    # ---- using it

    def compare(self) -> Optional[_Now]:
        """What stands in the structure now; None when something is not as it was."""
        places, objects = _objects_of(self._state)
        if places != self._places or not same_objects(objects, self._objects):
            return None  # the caller's dict or list of models or optimizers has others now
        values = self._gather()
        if values is None or list(map(type, values)) != self._types:
            return None
        tensors = self._tensors_of(values)
        if (
            not same_objects(self._again_of(values), self._firsts_of(values))
            or list(map(_requires_grad, self._optimizers_of(values))) != self._flags
            or not self._look.fits(tensors)
        ):
            return None
        return _Now(values, tensors)

    def walk(self, now: _Now, rest: Dict[str, Any]) -> Optional[CachedWalk]:
        """None when `rest` shares memory with what is kept; NotPlain when what is kept no longer holds."""
        state = self._state
        sink = Sink(state.guarded_storages(), frozenset(), state.demoted_storages(), lazy=False, unnamed=0)
        parts: List[Union[bytes, Node]] = [self._texts[0]]
        for hole, after in zip(self._holes, self._texts[1:]):
            parts += (hole.fill(hole.find(now.values, rest), sink), after)
        sink.complete()
        if any(self._shares(entry.source) for entry in sink.entries):
            return None
        text = b"".join([part if isinstance(part, bytes) else _utf8(part) for part in parts])
        try:
            return CachedWalk(self, now.tensors, sink, text)
        except RuntimeError as error:
            raise NotPlain from error  # a tensor without a version counter took the place of one that had it

    def _gather(self) -> Optional[List[Any]]:
        values: List[Any] = []
        for live in self._lives:
            found = live.current()
            if found is None:
                return None
            values += found
        return values

    def _shares(self, source: Any) -> bool:
        if not isinstance(source, torch.Tensor):
            return False
        storage = source.untyped_storage()
        before = bisect.bisect_left(self._begins, storage.data_ptr() + storage.nbytes())
        return before > 0 and self._ends[before - 1] > storage.data_ptr()

    def layout_with(self, late: Layout) -> Layout:
        if late != self._whole_layout[0]:
            self._whole_layout = (late, self._layout + late)
        return self._whole_layout[1]

    def pointers_with(self, late: List[int]) -> Any:
        count = len(self._addresses)
        if len(self._array) != count + len(late):
            self._array = (ctypes.c_void_p * (count + len(late)))(*self._addresses)
        self._array[count:] = late
        return self._array


def _objects_of(state: TrainingState) -> Tuple[List[Any], List[Any]]:
    """Where the models and optimizers stand, and which they are."""
    found = [*each("model", state.model), *each("optimizer", state.optimizer)]
    places: List[Any] = [type(state.model), type(state.optimizer)]
    places += [(path, tuple(map(type, path))) for path, _ in found]
    return places, [one for _, one in found]


def _picker(positions: List[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """Picks the values at `positions`."""
    if len(positions) > 1:
        return itemgetter(*positions)
    return lambda values: [values[at] for at in positions]


def _item(group: Dict[str, Any], key: str) -> Callable[[List[Any], Dict[str, Any]], Any]:
    return lambda values, rest: group[key]


def _part(name: str) -> Callable[[List[Any], Dict[str, Any]], Any]:
    return lambda values, rest: rest[name]
