"""The live structure of plain modules and optimizers: what stands in them now, and whether they are still built alike.

Plain means that state_dict() is torch's own and that no hook changes it. Then what it returns follows from names, from
the order of a few dicts and from the values in them, and these are compared here without a call per tensor.
"""

from __future__ import annotations

import collections
from itertools import chain, repeat
from operator import contains, is_, itemgetter, methodcaller
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence

import torch

_INNER = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", "_state_dict_pre_hooks",
          "_state_dict_hooks")  # fmt: skip
_inner_of = itemgetter(*_INNER)
_MODULE_METHODS = ("state_dict", "_save_to_state_dict", "get_extra_state")
_OPTIMIZER_HOOKS = ("_optimizer_state_dict_pre_hooks", "_optimizer_state_dict_post_hooks")


class NotPlain(Exception):
    """The object has a state_dict() of its own, or state that cannot be compared in passing."""


def flat(groups: Iterable[Iterable[Any]]) -> List[Any]:
    """The members of all groups in one list."""
    return list(chain.from_iterable(groups))


def same_objects(left: Sequence[Any], right: Sequence[Any]) -> bool:
    """Member by member the same object. (`==` on tensors would compare their elements.)"""
    return len(left) == len(right) and all(map(is_, left, right))


class _Keys:
    """The keys of some dicts, in order. All are strings, which are compared as fast as they are found."""

    def __init__(self, dicts: Sequence[Dict[str, Any]]) -> None:
        self._lengths = list(map(len, dicts))
        self._keys = flat(dicts)
        if not set(map(type, self._keys)) <= {str}:
            raise NotPlain

    def are_of(self, dicts: Sequence[Dict[str, Any]]) -> bool:
        return list(map(len, dicts)) == self._lengths and flat(dicts) == self._keys


class LiveModule:
    """A module with all its submodules."""

    def __init__(self, root: Any) -> None:
        self._modules = _all_modules(root)
        self._types = list(map(type, self._modules))
        self._classes = set(self._types)
        try:
            self._inner = flat(map(_inner_of, map(vars, self._modules)))
        except KeyError as missing:
            raise NotPlain from missing
        parameters, buffers, children, self._transient, *self._hooks = (
            self._inner[at :: len(_INNER)] for at in range(len(_INNER))
        )
        self._dicts = [*parameters, *buffers, *children]
        kinds = set(map(type, self._dicts))
        if not kinds <= {dict, collections.OrderedDict}:
            raise NotPlain
        # An older torch has ordered ones, whose order may be another than that of the dict below.
        self._values_of: Callable[[Any], Any] = dict.values if kinds == {dict} else methodcaller("values")
        self._transient_names = list(map(set, self._transient))
        self._keys = _Keys(self._dicts)
        # Many are empty; that they stay so is seen in their keys.
        self._holding_tensors = [one for one in (*parameters, *buffers) if one]
        self._holding_modules = [one for one in children if one]
        self._children = flat(map(self._values_of, self._holding_modules))
        self.saved = [True] * sum(map(len, parameters)) + [
            name not in left_out for names, left_out in zip(buffers, self._transient) for name in names
        ]  # per value of current(): whether state_dict() has it
        if self.current() is None:
            raise NotPlain

    def current(self) -> Optional[List[Any]]:
        """Every parameter and buffer (or None) in a fixed order; None when the structure is not what it was."""
        dicts = list(map(vars, self._modules))
        if (
            list(map(type, self._modules)) != self._types
            or not all(map(_is_plain_module, self._classes))
            or any(map(contains, dicts, repeat("state_dict")))
            or any(map(contains, dicts, repeat("_save_to_state_dict")))
            or not same_objects(flat(map(_inner_of, dicts)), self._inner)
            or any(map(any, self._hooks))
            or self._transient != self._transient_names
            or not self._keys.are_of(self._dicts)
            or not same_objects(flat(map(self._values_of, self._holding_modules)), self._children)
        ):
            return None
        return flat(map(self._values_of, self._holding_tensors))


def _all_modules(root: Any) -> List[Any]:
    found: Dict[int, Any] = {}
    waiting = [root]
    while waiting:
        module = waiting.pop()
        if module is None or id(module) in found:
            continue
        if not isinstance(module, torch.nn.Module):
            raise NotPlain
        found[id(module)] = module
        waiting.extend(module._modules.values())
    return list(found.values())


def _is_plain_module(kind: type) -> bool:
    return all(getattr(kind, name, None) is getattr(torch.nn.Module, name) for name in _MODULE_METHODS)


class LiveOptimizer:
    """An optimizer: the parameters of its groups, the keys of its state, and the values of that."""

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise NotPlain
        self.groups: List[Dict[str, Any]] = list(optimizer.param_groups)
        self._group_keys = _Keys(self.groups)
        self._parameter_counts = [len(group["params"]) for group in self.groups]
        inner = list(optimizer.state.values())
        if not set(map(type, inner)) <= {dict}:
            raise NotPlain
        self._keys = _Keys(inner)
        self.parameters = sum(self._parameter_counts)
        self.keys = len(inner)  # of the state
        self.size = self.parameters + self.keys + sum(map(len, inner))
        if self.current() is None:
            raise NotPlain

    def current(self) -> Optional[List[Any]]:
        """Parameters group by group, then the keys of the state, then its values; None when the structure is not what
        it was. The other values of the groups are in `groups`."""
        optimizer = self._optimizer
        inner = list(optimizer.state.values())
        if (
            type(optimizer).state_dict is not torch.optim.Optimizer.state_dict
            or "state_dict" in vars(optimizer)
            or any(getattr(optimizer, name, None) for name in _OPTIMIZER_HOOKS)
            or not same_objects(optimizer.param_groups, self.groups)
            or not self._group_keys.are_of(self.groups)
            or [len(group["params"]) for group in self.groups] != self._parameter_counts
            or not set(map(type, inner)) <= {dict}
            or not self._keys.are_of(inner)
        ):
            return None
        parameters = flat(group["params"] for group in self.groups)
        return [*parameters, *optimizer.state, *flat(map(dict.values, inner))]
