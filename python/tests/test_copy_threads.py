"""copy_threads: what a snapshot promises, it promises with several threads too, and they go with the Checkpointer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

import pytest
import torch

import stillframe
from machine import wait_until
from support import same
from training import BigRun

pytestmark = pytest.mark.usefixtures("library")


def helpers() -> List[str]:
    """Names of the threads of this process that copy beside the caller or the copy stream."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        try:
            names.append((task / "comm").read_text().strip())
        except OSError:  # it has ended meanwhile
            continue
    return sorted(name for name in names if name.startswith("sf-copy-"))


@pytest.mark.parametrize("copy_threads", [1, 2, 3])
def test_a_snapshot_holds_the_values_of_the_call_and_its_threads_go_with_the_checkpointer(
    copy_threads: int, tmp_path: Path
) -> None:
    run = BigRun(5)
    extra = {"large": torch.arange(700_000), "none": torch.empty(0)}
    extra.update({f"small{i}": torch.full((i % 7 + 1,), float(i)) for i in range(2000)})
    with run.checkpointer(tmp_path, state=extra, copy_threads=copy_threads) as ckpt:
        wait_until(lambda: helpers() == [f"sf-copy-{i}" for i in range(2, copy_threads + 1)], "the helpers to be there")
        for step in range(3):
            expected = {name: tensor.clone() for name, tensor in extra.items()}
            weight = run.weight.detach().clone()
            ticket = ckpt.snapshot(step)
            for tensor in extra.values():
                tensor.add_(1)  # no fence guards them: taken in the call
            run.step()  # behind its fence
            ticket.wait_durable()
            kept = stillframe.load(f"{tmp_path}@{step}")
            assert same(dict(kept["state"]), expected) and torch.equal(kept["model"]["weight"], weight)
    wait_until(lambda: helpers() == [], "the helpers to end")


@pytest.mark.parametrize("wrong", [0, 17, -1, 1.5, True, "2", 2**32 + 1])
def test_a_number_of_copy_threads_that_cannot_be_is_refused_with_the_limits(wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="copy_threads: expected a whole number from 1 to 16"):
        stillframe.Checkpointer(tmp_path / "store", copy_threads=wrong)
    assert not (tmp_path / "store").exists()
