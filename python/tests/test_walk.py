"""Tensors and arrays as entries: ties, views, strides, every dtype, and the path of what cannot be stored."""

from __future__ import annotations

import threading
from typing import Any, List

import numpy
import pytest
import torch
from torch import nn

from stillframe._dtypes import TORCH_BY_NAME
from stillframe._versions import VersionRecord, describe_moved
from stillframe._walk import Walk, storage_id, walk
from support import entry_bytes, round_trip, same, tensor_bytes


def _names(walked: Walk) -> List[str]:
    return [entry.name for entry in walked.entries]


@pytest.mark.parametrize("name", list(TORCH_BY_NAME))
def test_every_dtype_comes_back_bit_for_bit(name: str) -> None:
    dtype = TORCH_BY_NAME[name]
    raw = torch.arange(256, dtype=torch.int64).to(torch.uint8)
    tensor = (raw % 2).bool() if dtype is torch.bool else raw.view(dtype)
    assert walk(tensor).entries[0].dtype == name
    assert same(round_trip({"t": tensor})["t"], tensor)


def test_all_twenty_names_are_known_to_this_torch() -> None:
    assert len(TORCH_BY_NAME) == 20


def test_a_whole_tensor_is_a_plain_reference_and_keeps_its_shape() -> None:
    walked = walk({"model": {"layers.0.weight": torch.zeros(2, 3)}})
    assert walked.tree_json == '{"model":{"layers.0.weight":{"$tensor":"model.layers.0.weight"}}}'
    assert walked.entries[0].layout() == ("model.layers.0.weight", "F32", (2, 3), False, False, -1)


def test_no_bytes_are_copied_by_the_walk() -> None:
    tensor, array, raw = torch.randn(8), numpy.ones(8), bytes(5000)
    walked = walk([tensor, array, tensor[2:6], numpy.asfortranarray(numpy.ones((2, 3)))])
    addresses, _ = walked.pointers()
    assert addresses[0] == tensor.data_ptr() and addresses[1] == array.ctypes.data
    assert entry_bytes(walk(raw)) == [raw]
    part = torch.randn(10)
    assert walk(part[3:7]).entries[0].address == part[3:].data_ptr()


def test_ties_share_memory_again() -> None:
    weight = torch.randn(3, 4)
    assert len(walk({"a": weight, "b": weight.detach()}).entries) == 1
    back = round_trip({"a": weight, "b": weight.detach(), "c": [weight]})
    back["a"][0, 0] = 42.0
    assert back["b"][0, 0] == 42.0 and back["c"][0] is back["a"]


def test_views_keep_strides_offsets_and_what_they_share() -> None:
    base = torch.arange(24.0).reshape(4, 6)
    state = {"base": base, "t": base.t(), "column": base[:, 2], "row": base[1], "wide": base[0, :1].expand(5)}
    assert len(walk(state).entries) == 1
    back = round_trip(state)
    for key, value in state.items():
        assert same(back[key], value), key
    back["base"][1, 2] = -1.0
    assert back["t"][2, 1] == -1.0 and back["column"][1] == -1.0 and back["row"][2] == -1.0


def test_a_view_saves_only_the_extent_it_uses() -> None:
    base = torch.zeros(1000, dtype=torch.float64)
    walked = walk(base[10:40:3])
    assert walked.entries[0].shape == (28,) and walked.entries[0].address == base[10:].data_ptr()
    assert same(round_trip(base[10:40:3]), base[10:40:3])


def test_one_storage_seen_as_several_dtypes() -> None:
    base = torch.arange(10, dtype=torch.float32)
    state = [base[1:4], base[4:10].view(torch.float64), base.view(torch.uint8)[17:19]]
    assert walk(state).entries[0].dtype == "U8" and len(walk(state).entries) == 1
    back = round_trip(state)
    assert same(back, state)
    back[1].fill_(0.0)
    assert tensor_bytes(back[2]) == b"\x00\x00"


@pytest.mark.parametrize("tensor", [
    torch.empty(0), torch.empty(2, 0, 3), torch.tensor(5.0),
    torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    torch.randn(3, 3).t(), torch.empty(4, 0).t(), torch.randn(1), torch.randn(6)[2:2],
])  # fmt: skip
def test_odd_shapes(tensor: torch.Tensor) -> None:
    assert same(round_trip({"x": tensor, "again": tensor})["x"], tensor)


def test_an_empty_view_beside_a_full_one() -> None:
    base = torch.randn(6)
    assert same(round_trip([base[6:], base[1:3]]), [base[6:], base[1:3]])


def test_parameters_and_gradients_flags() -> None:
    state = [nn.Parameter(torch.randn(2)), torch.randn(2, requires_grad=True), nn.Parameter(torch.ones(1), False)]
    back = round_trip(state)
    assert [type(value) for value in back] == [nn.Parameter, torch.Tensor, nn.Parameter]
    assert [value.requires_grad for value in back] == [True, True, False] and same(back, state)


@pytest.mark.parametrize("array", [
    numpy.arange(6).reshape(2, 3), numpy.asfortranarray(numpy.arange(6.0).reshape(2, 3)), numpy.arange(24)[::5],
    numpy.arange(24).reshape(4, 6)[:, ::-2], numpy.array(3.0, 'f4'), numpy.empty((0, 3)),
    numpy.array([True, False]), numpy.array([1 + 2j]), numpy.array([1.5], "f2"),
    numpy.asfortranarray(numpy.ones((1, 3))),
])  # fmt: skip
def test_arrays(array: Any) -> None:
    back = round_trip({"x": array})["x"]
    assert back.dtype == array.dtype and back.shape == array.shape and back.tobytes() == array.tobytes()
    assert back.flags.writeable


def test_big_endian_arrays_stand_in_little_endian_and_come_back_as_they_were() -> None:
    array = numpy.array([1, 2, 3], ">i4")
    assert entry_bytes(walk(array)) == [array.astype("<i4").tobytes()]
    assert same(round_trip(array), array)


def test_an_array_met_twice_is_one_entry_and_one_array() -> None:
    array = numpy.ones(4)
    assert len(walk([array, array]).entries) == 1
    back = round_trip([array, array])
    assert back[0] is back[1]


def test_entry_names_are_unique_and_safe() -> None:
    one, two, three = torch.ones(1), torch.ones(2), torch.ones(3)
    assert _names(walk({"a": {"b": one}, "a.b": two, "a.b#2": three})) == ["a.b", "a.b#2", "a.b#2#2"]
    assert _names(walk({3: one, "3": two, (1, "x"): three})) == ["3", "3#2", "(1, 'x')"]
    assert _names(walk({"nul\0": one, "": two, "__metadata__": three})) == [repr("nul\0"), "''", "'__metadata__'"]
    assert _names(walk(one)) == ["state"]
    assert len(_names(walk({"x" * 100_000: one}))[0].encode()) <= 32 * 1024


class Opaque:
    pass


@pytest.mark.parametrize(("leaf", "why"), [
    (lambda: None, "type builtins.function"), (threading, "type builtins.module"), (Opaque(), "type test_walk.Opaque"),
    (numpy.array(["a"]), "numpy.ndarray of dtype"), (numpy.array([object()]), "dtype object"),
    (numpy.array(["2020-01-01"], "M8[D]"), "dtype datetime64"), (numpy.zeros(1, [("a", "i4")]), "cannot be stored"),
    (numpy.longdouble(1), "NumPy scalar of dtype"), (numpy.zeros(2, numpy.longdouble), "cannot be stored"),
    (numpy.ma.masked_array([1]), "MaskedArray"), (numpy.str_("x"), "NumPy scalar"), (range(3), "builtins.range"),
    (torch.eye(2).to_sparse(), "layout torch.sparse"), (torch.empty(2, device="meta"), "meta tensor"),
    (torch.ones(2, dtype=torch.complex64).conj(), "resolve_conj"), (torch.ones(2).untyped_storage(), "UntypedStorage"),
    (torch.zeros(2, dtype=torch.complex32), "torch.complex32"), (torch.max(torch.ones(1, 1), 0), "return_types"),
    ("lone \ud800", "lone surrogate"), ({"x": {torch.ones(1)}}, "set element of type torch.Tensor"),
    ({Opaque(): 1}, "key or set element"), (nn.UninitializedParameter(), "lazy parameter"), (threading.Lock(), "lock"),
])  # fmt: skip
def test_what_cannot_be_stored_is_refused_with_its_path(leaf: Any, why: str) -> None:
    with pytest.raises(TypeError, match=r"^optimizer\.state\[3\]\['hook'\].*: .*" + why):
        walk({"state": {3: {"hook": leaf}}, "param_groups": []}, root=("optimizer",))


def test_guarded_is_decided_by_storage() -> None:
    weight, buffer = torch.ones(2), torch.ones(2)
    walked = walk({"w": weight, "b": buffer, "alias": weight.view(2, 1)}, frozenset([storage_id(weight)]))
    assert [(entry.name, entry.guarded) for entry in walked.entries] == [("w", True), ("b", False)]
    assert len(walked.guarded) == 2 and walked.guarded[0][0] == "w"


def test_layout_is_equal_exactly_when_the_plan_fits() -> None:
    assert walk([torch.ones(2), 1]).layout() == walk([torch.zeros(2), 5]).layout()
    assert walk([torch.ones(2)]).layout() != walk([torch.ones(3)]).layout()
    assert walk([torch.ones(2)]).layout() != walk([torch.ones(2).half()]).layout()


def test_version_counters_find_in_place_changes_through_detached_and_viewed_tensors() -> None:
    parameter, other = nn.Parameter(torch.ones(4)), torch.ones(1)
    record = VersionRecord(["w", "o"], [parameter.detach(), other])
    assert record.moved() == []
    with torch.no_grad():
        parameter.view(2, 2)[0] += 1
    assert record.moved() == ["w"] and "w" in describe_moved(record.moved())
    record.clear()
    assert record.moved() == []


def test_long_lists_of_changed_tensors_are_cut() -> None:
    assert describe_moved([str(n) for n in range(20)]).endswith("6, 7 and 12 more")
