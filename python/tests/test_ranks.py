"""Four processes that train together with torch.distributed, killed one at a time: no half checkpoint, and all go on from
the same step to the same end."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import List

import pytest
import stillframe
from launch import Ranks, ranks_by_step
from stillframe._errors import DeadlineError, InvalidArgumentError, UnavailableError, UnsupportedError
from stillframe._ranks import place_of
from training import Run

pytestmark = pytest.mark.usefixtures("library")

RANKS = 4
STEPS = 10

# Says what it does line by line, and goes on from each line when it hears one.
RANK = """
import datetime, hashlib, os, sys
import torch
import torch.distributed as distributed
import stillframe
store, meeting, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
rank = int(os.environ["RANK"])
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method="file://" + meeting, rank=rank, timeout=datetime.timedelta(seconds=60),
                               world_size=int(os.environ["WORLD_SIZE"]))
torch.manual_seed(7)
model = torch.nn.Sequential(torch.nn.Linear(512, 1024), torch.nn.ReLU(), torch.nn.Dropout(0.25), torch.nn.Linear(1024, 4))
torch.manual_seed(100 + rank)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
seen = {"rank": rank, "sum": 0.0}

class Seen:
    def state_dict(self): return dict(seen)
    def load_state_dict(self, saved): seen.update(saved)

ckpt = stillframe.Checkpointer(store, model=model, optimizer=optimizer, rng=True, state={"seen": Seen()},
                               budget_bytes=64 << 20)
restored = ckpt.restore()
first = 0 if restored is None else restored.step + 1
print("from", first, flush=True)
print("daemon", ckpt.status()["daemon"]["pid"], flush=True)
tickets = []
for step in range(first, steps):
    optimizer.zero_grad()
    loss = model(torch.randn(4, 512)).square().mean()
    loss.backward()
    # Not by DistributedDataParallel: it sums in another order after its first step, which a restart has again.
    for parameter in model.parameters():
        distributed.all_reduce(parameter.grad)
    optimizer.step()
    seen["sum"] += float(loss.detach())
    print("updated", step, flush=True)
    sys.stdin.readline()
    tickets.append(ckpt.snapshot(step))
    captured = max((one.step for one in tickets if one.captured), default=-1)
    print("taken", step, captured, flush=True)
    sys.stdin.readline()
digest = hashlib.sha256()
for tensor in list(model.state_dict().values()) + [torch.get_rng_state()]:
    digest.update(tensor.numpy().tobytes())
for entry in optimizer.state_dict()["state"].values():
    for value in entry.values():
        digest.update(value.numpy().tobytes())
digest.update(repr(sorted(seen.items())).encode())
ckpt.close()
print("end", digest.hexdigest(), flush=True)
distributed.destroy_process_group()
"""


def test_four_ranks_killed_at_several_points_all_go_on_from_the_same_step_to_the_same_end(tmp_path: Path) -> None:
    everyone, group = list(range(RANKS)), Ranks(tmp_path, RANK, RANKS, STEPS)
    with group.launch(tmp_path / "whole") as whole:
        assert whole.first == [0] * RANKS
        whole.run(range(STEPS))
        expected = whole.ends()
    assert len(set(expected)) == RANKS, "each rank has a state of its own"

    store = tmp_path / "gpt"
    with group.launch(store) as launch:
        launch.run(range(3))
        launch.update(3)
        launch.take(3, everyone)
        launch.kill(1)  # while the snapshot of all is on its way
        captured = launch.captured
    with group.launch(store) as launch:
        assert len(set(launch.first)) == 1, launch.first
        assert captured < launch.first[0] <= 4
        launch.run(range(launch.first[0], 6))
        launch.update(6)
        launch.take(6, [0, 1, 2])
        launch.kill(3)  # it alone has no snapshot of the step
        captured = launch.captured
    with group.launch(store) as launch:
        assert len(set(launch.first)) == 1, launch.first
        assert captured < launch.first[0] <= 6
        assert 6 not in ranks_by_step(store)
        launch.run(range(launch.first[0], 7))
        os.kill(launch.daemon, signal.SIGKILL)
        launch.run(range(7, STEPS))
        assert launch.ends() == expected
    held = ranks_by_step(store)
    assert max(held) == STEPS - 1
    assert all(ranks == everyone for ranks in held.values()), held
    assert not list(store.glob("*.partial"))
    for rank in everyone:
        assert stillframe.load(f"{store}@latest", rank=rank)["state"]["seen"]["rank"] == rank


def test_a_rank_that_cannot_wait_for_its_predecessors_restores_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: List[float] = []

    def too_late(seconds: float) -> None:
        waited.append(seconds)
        raise DeadlineError("what the process before had captured is not durable yet")

    with Run().checkpointer(tmp_path, run="alone") as alone:
        monkeypatch.setattr(alone._open_client(), "settle", too_late)
        with pytest.warns(RuntimeWarning, match="not durable yet"):
            with pytest.raises(UnavailableError, match="no checkpoint.*not durable yet"):
                alone.restore()  # a beginning anew over what may still come
    with Run().checkpointer(tmp_path, run="group", rank=0, world_size=2) as rank:
        monkeypatch.setattr(rank._open_client(), "settle", too_late)
        with pytest.raises(DeadlineError, match="not durable yet"):
            rank.restore()
    assert waited[1] > 120, "its fellows may seal until persist.group_deadline_seconds"


def test_a_group_persists_every_snapshot(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="persist_every_steps"):
        Run().checkpointer(tmp_path, rank=0, world_size=2, persist_every_steps=5)


def test_torchruns_environment_says_which_rank_this_is() -> None:
    torchrun = {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}
    assert place_of(None, None, torchrun) == (2, 4)
    assert place_of(0, 1, torchrun) == (0, 1)
    assert place_of(None, None, {}) == (0, 1)
    assert place_of(1, 2, {}) == (1, 2)
    with pytest.raises(InvalidArgumentError, match="8 ranks, 4 of them on this node"):
        place_of(None, None, {**torchrun, "WORLD_SIZE": "8"})
    with pytest.raises(InvalidArgumentError, match="WORLD_SIZE='x'"):
        place_of(None, None, {**torchrun, "WORLD_SIZE": "x"})
    for rank, world_size in ((2, 2), (-1, 2), (1, None), (None, 2)):
        with pytest.raises(InvalidArgumentError):
            place_of(rank, world_size, {})
