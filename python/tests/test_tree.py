"""Every value a training state holds comes back bit for bit, through text that a person can read."""

from __future__ import annotations

import collections
import enum
import json
import math
import struct
import sys
from typing import Any, NamedTuple

import numpy
import pytest
import torch

import stillframe._types
from stillframe._buffers import BufferSource, map_location
from stillframe._decode import decode, parse
from stillframe._errors import CorruptError, UnsupportedError
from stillframe._tree import MAX_DEPTH
from stillframe._types import EnumValue, TypeRegistry
from stillframe._walk import walk
from support import round_trip, same

Pair = collections.namedtuple("Pair", ["left", "right"])


class Typed(NamedTuple):
    count: int
    rate: float = 0.5


class Colour(enum.Enum):
    RED = "red"
    DEEP = ("tuple", 3)


class Level(enum.IntEnum):
    LOW = 1


class Bits(enum.Flag):
    A = 1
    B = 2


def _float_of_bits(bits: int) -> float:
    value: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return value


def _decode(text: str) -> Any:
    return decode(parse(text), BufferSource({}, {}, map_location("cpu")), TypeRegistry())


VALUES = [
    None, True, False, "", "text", "snow ☃ and \U0001f600", "nul \0 and \u2028", "$looks special",
    0, -1, 2**53 - 1, 2**53, -(2**53), 2**64, -(2**2000), 10**12000 + 7, -(10**8000),
    0.0, -0.0, 1.0, 0.1, 1e20, 1e-320, 5e-324, 1.7976931348623157e308, math.inf, -math.inf,
    math.nan, _float_of_bits(0x7FF8000000000001), _float_of_bits(0xFFF8000000000000), 1 + 2j, complex(math.nan, -0.0),
    [], [1, [2, [3]]], (), (1,), (1, (2.0, "x")), {}, {"a": 1, "b": {"c": None}}, {"z": 1, "a": 2},
    {"$tensor": "not one"}, {1: "int", "1": "text", 1.5: "float", None: "none"}, {(1, ("a", None)): 2, b"raw": 3},
    collections.OrderedDict([("z", 1), ("a", 2)]), collections.OrderedDict([(3, "three")]),
    {1, 2, 3}, frozenset({"a", "b"}), {(1, 2), None, b"x"}, {frozenset({1}): 2},
    b"", b"\x00\xff", bytes(range(256)) * 16, bytes(range(256)) * 17, bytearray(b"abc"), bytearray(5000),
    Pair(1, [2]), Typed(3, math.inf), Pair({"a": Pair(1, 2)}, ()),
    Colour.RED, Colour.DEEP, Level.LOW, Bits.A, Bits.A | Bits.B, {Colour.RED: 1},
    torch.Size([2, 3]), torch.Size([]), torch.float8_e4m3fn, torch.bfloat16, torch.device("cpu"),
    torch.device("cuda:1"), numpy.float32(0.1), numpy.int64(-5), numpy.bool_(True), numpy.complex128(1 - 2j),
    numpy.float64(-0.0), numpy.float16("nan"), numpy.uint64(2**64 - 1),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=[f"{type(value).__name__}{at}" for at, value in enumerate(VALUES)])
def test_a_value_comes_back_with_its_type_and_bits(value: Any) -> None:
    assert same(round_trip(value), value)


def test_text_is_json_that_people_can_read() -> None:
    text = walk({"lr": 0.1, "betas": (0.9, 0.999), "big": 2**70, "name": "é"}).tree_json
    assert text == '{"lr":0.1,"betas":{"$tuple":[0.9,0.999]},"big":{"$int":"1180591620717411303424"},"name":"é"}'
    assert walk(1.0).tree_json == "1.0" and walk(1e20).tree_json == "1e+20" and walk(1).tree_json == "1"


def test_sets_give_the_same_text_in_any_order() -> None:
    assert walk({"b", "a", "c"}).tree_json == '{"$set":["a","b","c"]}'
    assert walk({10, 9, 1}).tree_json == walk({1, 10, 9}).tree_json
    assert walk({10, 9, "a", None}).tree_json == '{"$set":["a",10,9,null]}', "by JSON text, whatever the types"
    pairs = frozenset({(1, 2), (1,), (10,), (1, 10)})
    tuples = ",".join('{"$tuple":[%s]}' % items for items in ("1,10", "1,2", "10", "1"))
    assert walk(pairs).tree_json == '{"$frozenset":[' + tuples + "]}"


def test_random_generator_states_survive() -> None:
    import random

    for state in (random.getstate(), numpy.random.get_state(), torch.get_rng_state()):
        assert same(round_trip(state), state)


def test_a_namedtuple_whose_class_is_gone_is_rebuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    text = walk(Pair(1, 2)).tree_json.replace("test_tree.Pair", "no_such_module.Pair")
    monkeypatch.setattr(stillframe._types, "_seen", {})
    found = _decode(text)
    assert type(found).__name__ == "Pair" and found.left == 1 and found == (1, 2)
    assert "no_such_module" not in sys.modules
    assert type(_decode(text)) is type(found)


def test_an_enum_whose_class_is_gone_keeps_name_and_value() -> None:
    text = walk(Colour.DEEP).tree_json.replace("test_tree.Colour", "no_such_module.Colour")
    assert _decode(text) == EnumValue("no_such_module.Colour", "DEEP", ("tuple", 3))


def test_classes_come_from_the_caller_or_from_loaded_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    text = walk([Colour.RED, Pair(1, 2)]).tree_json
    monkeypatch.setattr(stillframe._types, "_seen", {})
    assert _decode(text) == [Colour.RED, Pair(1, 2)] and type(_decode(text)[1]) is Pair

    class Local(enum.Enum):
        X = 1

    local = walk(Local.X).tree_json
    stillframe._types._seen.clear()
    assert isinstance(_decode(local), EnumValue)
    assert round_trip(Local.X, types=[Local]) is Local.X


def test_a_class_of_another_kind_under_the_saved_name_is_not_used() -> None:
    text = walk(Pair(1, 2)).tree_json.replace("test_tree.Pair", "subprocess.Popen")
    assert type(_decode(text)).__name__ == "Popen" and _decode(text) == (1, 2)
    text = walk(Colour.RED).tree_json.replace("test_tree.Colour", "subprocess.Popen")
    assert isinstance(_decode(text), EnumValue)


def test_depth_has_a_limit_and_the_limit_itself_works() -> None:
    def nest(levels: int) -> Any:
        value: Any = "leaf"
        for _ in range(levels):
            value = {1: [value]} if levels % 2 else (value,)
        return value

    assert same(round_trip(nest(MAX_DEPTH)), nest(MAX_DEPTH))
    with pytest.raises(TypeError, match="deeper than 200 levels"):
        walk(nest(MAX_DEPTH + 2))


def test_a_cycle_is_refused_with_its_path_and_a_repeated_value_is_not() -> None:
    loop: Any = {"a": [1]}
    loop["a"].append(loop)
    with pytest.raises(TypeError, match=r"state\['a'\]\[1\]: the state holds itself"):
        walk(loop, root=("state",))
    twice = [1, 2]
    assert round_trip([twice, twice]) == [[1, 2], [1, 2]]


@pytest.mark.parametrize(
    "text",
    [
        '{"$tuple":1}', '{"$tuple":[],"x":1}', '{"$int":"12a"}', '{"$int":12}', '{"$float":"bits:zz"}', '{"$float":3}',
        '{"$complex":[1.0]}', '{"$bytes":"***"}', '{"$bytes":{"entry":"none"}}', '{"$dict":[[1]]}',
        '{"$dict":[[[],1]]}',
        '{"$namedtuple":{"type":"a.B","fields":["x"],"values":[]}}', '{"$size":[-1]}', '{"$size":["1"]}',
        '{"$namedtuple":{"type":"a.B","fields":["_x"],"values":[1]}}', '{"$scalar":{"dtype":"<f4","bytes":"00"}}',
        '{"$namedtuple":{"type":"a.B","fields":["x","x"],"values":[1,2]}}', '{"$scalar":{"dtype":"O","bytes":""}}',
        '{"$tensor":"none"}', '{"$tensor":{}}', '{"$ndarray":{}}', '{"$enum":{"type":"a.B"}}', "NaN", "{", "",
        '{"$set":[[1]]}',
    ],
)  # fmt: skip
def test_malformed_trees_are_corrupt_not_a_crash(text: str) -> None:
    with pytest.raises(CorruptError):
        _decode(text)


@pytest.mark.parametrize("text", ['{"$call":"os.system"}', '{"$dtype":"torch.nn"}', '{"$device":"fridge"}'])
def test_unknown_kinds_are_unsupported(text: str) -> None:
    with pytest.raises(UnsupportedError):
        _decode(text)


def test_deeply_nested_text_is_corrupt_not_a_stack_overflow() -> None:
    with pytest.raises(CorruptError):
        _decode("[" * 100_000 + "]" * 100_000)
    assert json.loads("1") == 1
