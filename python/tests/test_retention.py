"""Retention and pins: the words are those of the library, what they refuse, and what they do to a store."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any, Dict, List

import pytest

import stillframe
from machine import program
from stillframe import Retention, _abi
from training import DEADLINE_SECONDS


def steps_of(store: Path) -> List[int]:
    """Of the checkpoints in the store, by sequence."""
    names = sorted(path.name for path in store.iterdir() if (path / "manifest.json").is_file())
    return [int(name.split("-")[1].removeprefix("step")) for name in names]


def library_says(retention_json: str) -> str:
    """Of a client that cannot be opened: the policy is looked at first, then the store, of which there is none."""
    options = _abi.ClientOptions(
        struct_bytes=ctypes.sizeof(_abi.ClientOptions), store=b"", retention_json=retention_json.encode("utf-8")
    )
    client = ctypes.c_void_p()
    assert _abi.library().sf_client_open(ctypes.byref(options), ctypes.byref(client)) == 1
    return _abi.last_error()


NUMBERS = [field.name for field in dataclasses.fields(Retention) if isinstance(field.default, int)]


def largest(word: str) -> int:
    from stillframe import _retention

    return _retention._RANGES[word][1]


def test_the_words_are_those_of_the_daemon() -> None:
    text = subprocess.run([program("stillframed"), "--help"], capture_output=True, text=True, check=True).stdout
    flags = {word.removeprefix("--retention-") for word in text.split() if word.startswith("--retention-")}
    assert flags == {field.name.replace("_", "-") for field in dataclasses.fields(Retention)}


def test_what_python_takes_the_library_takes(library: None) -> None:
    policies = [
        Retention(),
        Retention(keep_best=[("loss", "min", 2), ("größe /top 1", "max", 1)], keep_steps=[-(2**63), 0, 2**63 - 1]),
        *(Retention(**{word: largest(word)}) for word in NUMBERS),  # type: ignore[arg-type]
        Retention(keep_best=[(f"m{i}", "min") for i in range(16)], keep_steps=range(1000)),
    ]
    for policy in policies:
        assert "store is empty" in library_says(policy.to_json()), policy


def test_what_python_refuses_the_library_refuses(library: None) -> None:
    for word in NUMBERS:
        words: Dict[str, Any] = json.loads(Retention().to_json())
        words[word] = largest(word) + 1
        assert f"{word}: expected" in library_says(json.dumps(words))
        with pytest.raises(ValueError, match=f"{word}: expected an integer from [01] to {largest(word)}, found"):
            Retention(**{word: largest(word) + 1})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"keep_last": 0}, "keep_last: expected an integer from 1 to 1000000, found 0"),
        ({"min_verified": 0}, "min_verified: expected an integer from 1"),
        ({"keep_last": -1}, "found -1"),
        ({"keep_last": True}, "found True"),
        ({"keep_last": 3.0}, "found 3.0"),
        ({"keep_last": None}, "found None"),
        ({"max_bytes": "1GiB"}, "max_bytes: .* found '1GiB'"),
        ({"keep_best": "loss"}, "keep_best: .*found 'loss'"),
        ({"keep_best": ("loss", "lowest")}, r"keep_best: .*found \('loss', 'lowest'\)"),
        ({"keep_best": ("loss", "min", 0)}, "keep_best"),
        ({"keep_best": ("loss", "min", True)}, "keep_best"),
        ({"keep_best": ("loss", "min", 1, 2)}, "keep_best"),
        ({"keep_best": [("loss",), ("loss", "min", 2)]}, "keep_best: expected each metric and mode once"),
        ({"keep_best": [("a:b",)]}, "keep_best"),
        ({"keep_best": [("a,b",)]}, "keep_best"),
        ({"keep_best": [("",)]}, "keep_best"),
        ({"keep_best": [(" a",)]}, "keep_best"),
        ({"keep_best": [("x" * 257,)]}, "keep_best"),
        ({"keep_best": [("\ud800",)]}, "keep_best"),
        ({"keep_best": [(f"m{i}",) for i in range(17)]}, "at most 16"),
        ({"keep_best": None}, "keep_best"),
        ({"keep_best": [None]}, "keep_best"),
        ({"keep_steps": 5}, "keep_steps"),
        ({"keep_steps": [1.5]}, "keep_steps: expected integers of 64 bits"),
        ({"keep_steps": [2**63]}, "keep_steps: expected integers of 64 bits"),
        ({"keep_steps": range(10**15)}, "at most 1000"),
    ],
)
def test_an_ill_value_names_its_word(words: Dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^Retention: .*{message}"):
        Retention(**words)


def test_a_rule_may_be_short_and_a_policy_is_a_value() -> None:
    assert Retention(keep_best=("loss",)) == Retention(keep_best=[("loss", "min", 1)])
    assert Retention(keep_best=("loss", "max")).keep_best == (("loss", "max", 1),)
    assert len({Retention(keep_steps=[1, 2]), Retention(keep_steps=(1, 2))}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        Retention().keep_last = 0  # type: ignore[misc]


def save(store: Path, losses: Dict[int, float], **options: Any) -> None:
    with stillframe.Checkpointer(store, **options) as ckpt:
        for step, loss in losses.items():
            ticket = ckpt.snapshot(step, state={"step": step}, metrics={"loss": loss})
            assert ticket.wait_verified(DEADLINE_SECONDS)


def test_the_best_and_the_multiples_stay(tmp_path: Path) -> None:
    policy = Retention(keep_last=1, keep_best=("loss", "min", 1), keep_every_steps=100, keep_steps=[150])
    losses = {0: 9.0, 50: 8.0, 100: float("nan"), 120: 0.5, 150: 7.0, 180: 6.0, 210: 5.0, 250: 4.0}
    save(tmp_path, losses, retention=policy)
    assert steps_of(tmp_path) == [0, 100, 120, 150, 210, 250]


def test_a_pinned_checkpoint_stays_until_it_is_unpinned(tmp_path: Path) -> None:
    save(tmp_path, {1: 1.0}, retention=Retention(keep_last=1))
    stillframe.pin(f"{tmp_path}@1", "for the paper")
    pins = list(tmp_path.glob("*/pinned"))
    assert len(pins) == 1 and "for the paper" in pins[0].read_text()
    save(tmp_path, {2: 1.0, 3: 1.0}, retention=Retention(keep_last=1))
    assert steps_of(tmp_path) == [1, 3]
    stillframe.unpin(f"{tmp_path}@1")
    stillframe.unpin(f"{tmp_path}@1")
    save(tmp_path, {4: 1.0}, retention=Retention(keep_last=1))
    assert steps_of(tmp_path) == [4]


def test_what_is_marked_bad_can_be_pinned_and_unpinned(tmp_path: Path) -> None:
    save(tmp_path, {1: 1.0, 2: 1.0}, retention=Retention(keep_last=5))
    (first,) = tmp_path.glob("*-step000001-*")
    stillframe.pin(f"{tmp_path}@1")
    (first / "bad").write_text("torn\n")
    stillframe.unpin(f"{tmp_path}@1")
    assert not (first / "pinned").exists()
    stillframe.pin(f"{tmp_path}@1", "for a look")
    assert "for a look" in (first / "pinned").read_text()


def test_unpin_means_the_pinned_one_of_a_step_taken_twice(tmp_path: Path) -> None:
    for _ in range(2):
        save(tmp_path, {1: 1.0}, retention=Retention(keep_last=5))
    older, newer = sorted(tmp_path.glob("*-step000001-*"))
    (older / "pinned").write_text("by hand\n")
    stillframe.unpin(f"{tmp_path}@1")
    assert not (older / "pinned").exists() and not (newer / "pinned").exists()


def test_a_reason_has_a_limit(tmp_path: Path) -> None:
    save(tmp_path, {1: 1.0})
    stillframe.pin(tmp_path, "x" * 1024)
    stillframe.pin(tmp_path, "short")
    with pytest.raises(ValueError, match="at most 1024 bytes, found 1025"):
        stillframe.pin(tmp_path, "x" * 1025)
    (pin,) = tmp_path.glob("*/pinned")
    assert "short" in pin.read_text()


def test_a_pin_says_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(stillframe.NotFoundError, match="no store"):
        stillframe.pin(tmp_path / "nothing")
    save(tmp_path, {1: 1.0})
    with pytest.raises(stillframe.NotFoundError, match="step 2"):
        stillframe.pin(f"{tmp_path}@2")


def test_without_a_policy_the_configuration_of_the_daemon_stands(tmp_path: Path) -> None:
    config = tmp_path / "stillframed.toml"
    config.write_text('[retention]\nkeep_last = 1\nkeep_best = ["loss:max:1"]\n')
    losses = {1: 1.0, 2: 3.0, 3: 2.0, 4: 0.0}
    save(tmp_path / "theirs", losses, daemon_config=str(config))
    assert steps_of(tmp_path / "theirs") == [2, 4]
    save(tmp_path / "ours", losses, daemon_config=str(config), retention=Retention(keep_last=2))
    assert steps_of(tmp_path / "ours") == [3, 4]
