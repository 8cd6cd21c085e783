"""Checkpoints damaged in every way a disk can: the one before is restored, the report says why, training goes on."""

from __future__ import annotations

import math
import os
import shutil
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any, Dict, List

import numpy
import pytest
import torch
from torch import nn

import stillframe
from machine import checkpoint_steps, cli, cli_json
from support import same
from training import DEADLINE_SECONDS, Run, no_warnings, save_steps

pytestmark = pytest.mark.usefixtures("library")

FILES = ("manifest.json", "rank-00000.table", "rank-00000.data")
PARTS = 16
Pair = namedtuple("Pair", ["left", "right"])


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with steps 0 and 1, to be copied and damaged."""
    store = tmp_path_factory.mktemp("good") / "store"
    save_steps(store, 2)
    return store


@pytest.fixture
def store(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "store"))


def newest(store: Path) -> Path:
    return max(path for path in store.iterdir() if path.is_dir() and path.name[:6].isdigit())


def replace(file: Path, raw: bytes) -> None:
    file.unlink()
    file.write_bytes(raw)


def assert_falls_back(store: Path, damaged: str, mention: str) -> None:
    """The step before is restored bit for bit, and the damaged file is named in warning and report."""
    run = Run(seed=5)
    with run.checkpointer(store) as ckpt:
        with pytest.warns(RuntimeWarning) as caught:
            restored = ckpt.restore()
    assert restored is not None and restored.step == 0 and restored.extra == {"epoch": 0}
    (skipped,) = restored.skipped
    assert skipped.name == damaged and mention in skipped.reason, skipped
    assert any(f"passed over {damaged}" in str(item.message) and mention in str(item.message) for item in caught)
    twin = Run()
    twin.step()
    assert same(run.everything(), twin.everything())


def assert_loads_the_one_before(store: Path, mention: str) -> None:
    """As above without a daemon: quick enough for hundreds of damages."""
    with pytest.warns(RuntimeWarning, match="load passed over") as caught:
        tree = stillframe.load(store)
    assert tree["extra"] == {"epoch": 0}
    assert mention in str(caught[0].message), str(caught[0].message)


@pytest.mark.parametrize("file", FILES)
def test_a_newest_checkpoint_truncated_anywhere_is_passed_over(store: Path, file: str) -> None:
    victim = newest(store) / file
    raw = victim.read_bytes()
    for part in range(PARTS):
        replace(victim, raw[: len(raw) * part // PARTS])
        assert_loads_the_one_before(store, file)
    replace(victim, raw[:-1])
    assert_loads_the_one_before(store, file)
    replace(victim, raw[: len(raw) // 2])
    assert_falls_back(store, victim.parent.name, file)


@pytest.mark.parametrize("file", FILES)
def test_a_newest_checkpoint_with_any_flipped_bit_is_passed_over(store: Path, file: str) -> None:
    victim = newest(store) / file
    raw = victim.read_bytes()
    for part in range(4 * PARTS):
        broken = bytearray(raw)
        broken[(len(raw) - 1) * part // (4 * PARTS - 1)] ^= 1 << (part % 8)
        replace(victim, bytes(broken))
        assert_loads_the_one_before(store, file)
    assert_falls_back(store, victim.parent.name, file)


@pytest.mark.parametrize("file", FILES)
def test_bytes_after_the_end_of_a_file_are_damage_too(store: Path, file: str) -> None:
    victim = newest(store) / file
    replace(victim, victim.read_bytes() + b"\0")
    assert_loads_the_one_before(store, file)


@pytest.mark.parametrize("file", ["rank-00000.table", "rank-00000.data"])
def test_a_half_deleted_newest_checkpoint_is_passed_over(store: Path, file: str) -> None:
    (newest(store) / file).unlink()
    assert_falls_back(store, newest(store).name, file)
    cli("verify", store, code=4)


def test_a_newest_checkpoint_without_its_manifest_is_passed_over(store: Path) -> None:
    (newest(store) / "manifest.json").unlink()
    assert_falls_back(store, newest(store).name, "manifest.json")


def test_a_newest_checkpoint_that_is_an_empty_directory_is_passed_over(store: Path) -> None:
    name = newest(store).name
    shutil.rmtree(newest(store))
    (store / name).mkdir()
    assert_falls_back(store, name, "manifest.json")


def test_training_continues_with_a_higher_sequence_after_damage(store: Path) -> None:
    damaged = newest(store)
    replace(damaged / FILES[2], b"")
    run = Run(seed=5)
    with run.checkpointer(store) as ckpt:
        with pytest.warns(RuntimeWarning, match="passed over"):
            restored = ckpt.restore()
        assert restored is not None
        run.step()
        again = ckpt.snapshot(restored.step + 1)
        assert again.wait_verified(DEADLINE_SECONDS) and int(again.name[:6]) > int(damaged.name[:6])
    with no_warnings():
        with Run(seed=6).checkpointer(store) as ckpt:
            resumed = ckpt.restore()
        assert resumed is not None and resumed.step == 1 and resumed.name == again.name and not resumed.skipped
        assert same(dict(stillframe.load(f"{store}@1")["model"]), dict(run.model.state_dict()))


def test_file_times_decide_nothing(tmp_path: Path) -> None:
    """Copied stores and clocks set back: the sequence alone says which is newest."""
    save_steps(tmp_path, 2)
    last = newest(tmp_path)
    for path in tmp_path.iterdir():
        os.utime(path, (1, 1) if path == last else None)
    with Run().checkpointer(tmp_path) as ckpt:
        restored = ckpt.restore()
    assert restored is not None and restored.step == 1 and restored.name == last.name


def test_steps_taken_again_after_a_resume_are_addressed_by_the_newest(tmp_path: Path) -> None:
    with stillframe.Checkpointer(tmp_path, retention=stillframe.Retention(keep_last=9)) as ckpt:
        for step, turn in ((10, "a"), (20, "a"), (30, "a"), (20, "b")):
            ckpt.snapshot(step, state={"turn": turn, "step": step}, wait=True).wait_durable(DEADLINE_SECONDS)
    assert stillframe.load(f"{tmp_path}@latest") == {"turn": "b", "step": 20}
    assert stillframe.load(f"{tmp_path}@20") == {"turn": "b", "step": 20}
    assert stillframe.load(f"{tmp_path}@30") == {"turn": "a", "step": 30}
    assert cli_json("show", f"{tmp_path}@20")["sequence"] == 4
    assert checkpoint_steps(tmp_path) == {10, 20, 30}


# ---- what does not fit


def test_dtypes_names_and_optimizers_that_do_not_fit_are_all_named(store: Path) -> None:
    run = Run()
    run.model[0].to(torch.float64)
    run.model[4] = nn.Linear(32, 4, bias=False)
    run.optimizer = torch.optim.AdamW(
        [{"params": list(run.model[0].parameters())}, {"params": list(run.model[4].parameters())}]
    )
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    scheduler, rng = run.scheduler.state_dict(), torch.get_rng_state()
    with run.checkpointer(store) as ckpt, pytest.raises(stillframe.MismatchError) as caught:
        ckpt.restore()
    text = str(caught.value)
    for expected in ("model['0.weight']: torch.float32", "torch.float64", "model['0.bias']",
                     "model['4.bias']: in the checkpoint only", "optimizer", "nothing was touched"):
        assert expected in text, text
    assert same(dict(run.model.state_dict()), before) and not run.optimizer.state
    assert run.scheduler.state_dict() == scheduler and torch.equal(torch.get_rng_state(), rng)


def test_objects_that_the_checkpoint_has_not_are_named(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    with stillframe.Checkpointer(tmp_path, model=model) as ckpt:
        ckpt.snapshot(1)
    run = Run()
    with run.checkpointer(tmp_path) as ckpt, pytest.raises(stillframe.MismatchError) as caught:
        ckpt.restore()
    for expected in ("optimizer: not in the checkpoint", "scheduler: not in the checkpoint", "rng: not in the"):
        assert expected in str(caught.value), str(caught.value)


def test_a_tree_of_its_own_is_not_restored_into_a_model(tmp_path: Path) -> None:
    with stillframe.Checkpointer(tmp_path) as ckpt:
        ckpt.snapshot(1, state=[1, 2])
    with Run().checkpointer(tmp_path) as ckpt, pytest.raises(stillframe.MismatchError, match=r"stillframe\.load"):
        ckpt.restore()


# ---- what is stored beside the tensors


def all_kinds() -> Dict[Any, Any]:
    return {
        "ints": [0, -1, 2**63, -(2**70), True, False],
        "floats": [math.nan, math.inf, -math.inf, -0.0, 1e-320, 0.1],
        "texts": ["", "snow ☃ \U0001f600 \x00 \"quotes\"", "$float", "\ud800".encode("utf-16", "surrogatepass")],
        "nothing": None,
        "complex": complex(1.5, -2.5),
        3: {-4: "integer keys", True: "a bool key"},
        "sets": [{1, 2}, frozenset("ab")],
        "tuple": (1, (2, [3, ()])),
        "pair": Pair(1, torch.ones(2)),
        "ordered": OrderedDict([("b", 1), ("a", 2)]),
        "arrays": [numpy.arange(6, dtype="<i2").reshape(2, 3), numpy.float32(1.5), numpy.int64(-3)],
        "torch": [torch.Size([2, 3]), torch.bfloat16, torch.device("cpu")],
        "tensors": [torch.tensor(3), torch.empty(0, 4), torch.ones(3, 4).t(), torch.tensor([True]),
                    torch.tensor([1.0], dtype=torch.bfloat16), torch.tensor([1 + 2j])],
        "deep": [[[[[[[[[["bottom"]]]]]]]]]],
    }  # fmt: skip


def test_extra_and_metrics_of_every_kind_come_back(tmp_path: Path) -> None:
    extra = all_kinds()
    metrics = {"nan": math.nan, "inf": -math.inf, "int": 7, "loss": numpy.float32(0.5), "one": torch.tensor([2.0])}
    with Run().checkpointer(tmp_path) as ckpt:
        ckpt.snapshot(-5, metrics=metrics, extra=extra).wait_verified(DEADLINE_SECONDS)
        restored = ckpt.restore()
    assert restored is not None and restored.step == -5 and same(restored.extra, extra)
    assert math.isnan(restored.metrics.pop("nan")) and restored.metrics.pop("inf") == -math.inf
    assert restored.metrics == {"int": 7, "loss": 0.5, "one": 2.0}
    assert cli_json("show", tmp_path)["step"] == -5
    assert "loss" in cli("show", tmp_path)
    assert cli_json("ls", tmp_path)["checkpoints"][0]["step"] == -5


def test_a_leaf_that_cannot_be_stored_names_its_path_and_harms_nothing(tmp_path: Path) -> None:
    refused: List[Any] = [{"a": [1, object()]}, {"a": [1, lambda: 0]}, {"a": [1, (i for i in ())]}]
    with Run().checkpointer(tmp_path) as ckpt:
        for extra in refused:
            with pytest.raises(TypeError, match=r"^extra\['a'\]\[1\]: "):
                ckpt.snapshot(1, extra=extra)
        assert ckpt.snapshot(2).wait_durable(DEADLINE_SECONDS)
    assert checkpoint_steps(tmp_path) == {2}
