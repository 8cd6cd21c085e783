"""DistributedDataParallel: what is the same on all ranks is written once without a word of the user's; killed, all ranks go on
from the same step to the same end."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterator

import pytest
import stillframe
import torch
import torch.distributed as distributed
from launch import Ranks, ranks_by_step
from stillframe._ddp import Sharing, _kept_equal, is_replicated
from stillframe._errors import InvalidArgumentError
from stillframe._state import TrainingState
from torch import nn
from torch.nn.parallel import DistributedDataParallel

pytestmark = [
    pytest.mark.usefixtures("library"),
    pytest.mark.skipif(not distributed.is_available() or not distributed.is_gloo_available(), reason="this torch has no gloo"),
]

# Two add up their gradients to the same bits in any order; more do not, and DistributedDataParallel changes its order after
# the first step of a process.
RANKS = 2
STEPS = 9

RANK = """
import datetime, hashlib, os, sys
import torch
import torch.distributed as distributed
from torch.nn.parallel import DistributedDataParallel
import stillframe
store, meeting, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
rank = int(os.environ["RANK"])
torch.set_num_threads(1)
distributed.init_process_group("gloo", init_method="file://" + meeting, rank=rank, timeout=datetime.timedelta(seconds=180),
                               world_size=int(os.environ["WORLD_SIZE"]))
torch.manual_seed(100 + rank)
model = DistributedDataParallel(torch.nn.Sequential(
    torch.nn.Linear(512, 1024), torch.nn.BatchNorm1d(1024), torch.nn.ReLU(), torch.nn.Dropout(0.25), torch.nn.Linear(1024, 4)))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, gamma=0.5)
seen = {"rank": rank, "sum": 0.0}

class Seen:
    def state_dict(self): return dict(seen)
    def load_state_dict(self, saved): seen.update(saved)

ckpt = stillframe.Checkpointer(store, model=model, optimizer=optimizer, scheduler=scheduler, rng=True,
                               state={"seen": Seen()}, budget_bytes=64 << 20)
assert ckpt.status()["replicated"]
restored = ckpt.restore()
assert restored is None or restored.extra == {"rank": rank}
first = 0 if restored is None else restored.step + 1
print("from", first, flush=True)
print("daemon", ckpt.status()["daemon"]["pid"], flush=True)
tickets = []
for step in range(first, steps):
    optimizer.zero_grad()
    loss = model(torch.randn(4, 512)).square().mean()
    loss.backward()
    optimizer.step()
    scheduler.step()
    seen["sum"] += float(loss.detach())
    print("updated", step, flush=True)
    sys.stdin.readline()
    tickets.append(ckpt.snapshot(step, extra={"rank": rank}))
    captured = max((one.step for one in tickets if one.captured), default=-1)
    print("taken", step, captured, flush=True)
    sys.stdin.readline()
digest = hashlib.sha256()
for tensor in list(model.state_dict().values()) + [torch.get_rng_state()]:
    digest.update(tensor.numpy().tobytes())
for entry in optimizer.state_dict()["state"].values():
    for value in entry.values():
        digest.update(value.numpy().tobytes())
digest.update(repr((sorted(seen.items()), scheduler.state_dict()["last_epoch"], scheduler.get_last_lr())).encode())
ckpt.close()
print("end", digest.hexdigest(), flush=True)
distributed.destroy_process_group()
"""

# Of Linear(512, 1024), BatchNorm1d(1024) and Linear(1024, 4), in elements.
PARAMETERS = (512 * 1024, 1024, 1024, 1024, 1024 * 4, 4)
BUFFERS_BYTES = 2 * 1024 * 4 + 8
# Each parameter once and twice more for AdamW, with a counter beside.
SHARED_BYTES = sum(3 * 4 * elements + 4 for elements in PARAMETERS) + BUFFERS_BYTES


def test_killed_ranks_go_on_to_the_same_end_from_one_copy_of_what_they_share(tmp_path: Path) -> None:
    group = Ranks(tmp_path, RANK, RANKS, STEPS)
    with group.launch(tmp_path / "whole") as whole:
        assert whole.first == [0, 0]
        whole.run(range(STEPS))
        expected = whole.ends()
    assert len(set(expected)) == RANKS, "each rank has a state of its own"

    store = tmp_path / "gpt"
    with group.launch(store) as launch:
        launch.run(range(2))
        launch.update(2)
        launch.take(2, [0, 1])
        launch.kill(1)  # while the snapshot of both is on its way
        captured = launch.captured
    with group.launch(store) as launch:
        assert len(set(launch.first)) == 1 and captured < launch.first[0] <= 3, launch.first
        launch.run(range(launch.first[0], 5))
        launch.update(5)
        launch.take(5, [1])
        launch.kill(0)  # its part, which holds what both share, is missing
        captured = launch.captured
    with group.launch(store) as launch:
        assert len(set(launch.first)) == 1 and captured < launch.first[0] <= 5, launch.first
        assert 5 not in ranks_by_step(store)
        launch.run(range(launch.first[0], STEPS))
        assert launch.ends() == expected
    assert max(ranks_by_step(store)) == STEPS - 1
    for manifest in store.glob("*/manifest.json"):
        assert_one_copy(json.loads(manifest.read_text()))
    assert "module.0.weight" in stillframe.load(store, rank=1)["model"]


def assert_one_copy(manifest: Any) -> None:
    first, second = ({entry["name"]: entry["bytes"] for entry in rank["entries"]} for rank in manifest["ranks"])
    own = {"rng.torch": first["rng.torch"]}
    own.update((name, size) for name, size in first.items() if name.startswith("rng.numpy"))
    assert second == own and "model.module.0.weight" in first
    assert manifest["raw_bytes"] == SHARED_BYTES + RANKS * sum(own.values())
    # Random weights get no smaller than this, two copies of them not as small.
    assert SHARED_BYTES // 2 < manifest["stored_bytes"] < SHARED_BYTES * 3 // 2


# ---- what is decided without a word


@pytest.fixture
def alone() -> Iterator[None]:
    """A group of this process alone."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


class OtherAdam(torch.optim.Adam):
    pass


class WithExtraState(nn.Linear):
    def get_extra_state(self) -> Any:
        return 1

    def set_extra_state(self, state: Any) -> None:
        pass


class WithCounts(nn.Linear):
    """As metrics do that are kept with a model: each rank counts what it has seen."""

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "seen"] = torch.ones(1)


def with_late_parameter(model: DistributedDataParallel) -> DistributedDataParallel:
    model.module.register_parameter("late", nn.Parameter(torch.ones(1)))
    return model


def with_buffer_hook(model: DistributedDataParallel) -> DistributedDataParallel:
    model._register_buffer_comm_hook(None, lambda state, buffers: None)
    return model


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4))


def with_hook(model: DistributedDataParallel) -> DistributedDataParallel:
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    model.register_comm_hook(None, allreduce_hook)
    return model


def without(name: str) -> nn.Module:
    model = plain()
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, [name])
    return model


def decided(model: Any, optimizer: Any, rank: int = 0, world_size: int = 1) -> bool:
    """As if the group of this process alone had so many ranks."""
    return _kept_equal(TrainingState(model, optimizer, None, False, None), rank, world_size)


DDP = DistributedDataParallel
MODELS: Dict[str, Any] = {
    "plain": (True, lambda: DDP(plain())),
    "several": (True, lambda: {"one": DDP(plain()), "two": DDP(nn.Linear(3, 3))}),
    "without buffers": (True, lambda: DDP(nn.Linear(8, 4), broadcast_buffers=False)),
    "not wrapped": (False, plain),
    "one not wrapped": (False, lambda: [DDP(plain()), plain()]),
    "inside of the wrap": (False, lambda: DDP(plain()).module),
    "buffers of each rank": (False, lambda: DDP(plain(), broadcast_buffers=False)),
    "a parameter of each rank": (False, lambda: DDP(without("0.bias"))),
    "a hook in place of the mean": (False, lambda: with_hook(DDP(plain()))),
    "state beside the tensors": (False, lambda: DDP(WithExtraState(8, 4))),
    "tensors that are neither parameters nor buffers": (False, lambda: DDP(WithCounts(8, 4))),
    "a parameter that came after the wrap": (False, lambda: with_late_parameter(DDP(plain()))),
    "buffers by a hook": (False, lambda: with_buffer_hook(DDP(plain()))),
    "none": (False, lambda: None),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_that_ddp_keeps_equal_are_known(alone: None, name: str) -> None:
    expected, make = MODELS[name]
    assert decided(make(), None) is expected


def in_a_world(monkeypatch: pytest.MonkeyPatch, rank: int, world_size: int) -> None:
    """As if the processes that train together were so many, and this one of them."""
    monkeypatch.setattr(distributed, "get_rank", lambda: rank)
    monkeypatch.setattr(distributed, "get_world_size", lambda: world_size)


def in_a_group(rank: int, size: int) -> DistributedDataParallel:
    model = DDP(plain())
    model.process_group = SimpleNamespace(rank=lambda: rank, size=lambda: size)
    return model


def test_a_group_of_other_ranks_is_not_the_checkpoints(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert decided(DDP(plain()), None)
    assert not decided(DDP(plain()), None, rank=0, world_size=2)
    state = TrainingState(in_a_group(1, 2), None, None, False, None)
    in_a_world(monkeypatch, 1, 2)
    assert is_replicated(None, state, 1, 2) is True and is_replicated(False, state, 1, 2) is False
    # Two nodes of two processes: the model is divided on each node, and the halves are kept equal across the nodes. The
    # checkpoint is of a node, of as many ranks as that group, and this is rank 1 in both.
    in_a_world(monkeypatch, 3, 4)
    assert is_replicated(None, state, 1, 2) is False


def test_what_ceases_to_be_equal_is_taken_by_each_rank_from_then_on(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    in_a_world(monkeypatch, 1, 2)
    model = in_a_group(1, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    state, guarded = TrainingState(model, optimizer, None, False, None), torch.ones(3)
    sharing = Sharing(None, state, 1, 2)
    assert sharing.replicated and sharing.taken is not state and not sharing.ends()
    sharing.taken.guard([guarded])
    optimizer.add_param_group({"params": []})
    assert not sharing.ends()
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]})  # which is not among the model's
    assert sharing.ends() and sharing.taken is state and not sharing.replicated
    assert guarded.untyped_storage()._cdata in state.guarded_storages() and not sharing.ends()


def test_what_was_asked_for_is_not_decided_again(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    model = plain()
    state = TrainingState(model, None, None, False, None)
    sharing = Sharing(True, state, 1, 2)
    model.register_parameter("late", nn.Parameter(torch.ones(1)))
    assert not sharing.ends() and sharing.replicated


def test_optimizers_that_are_equal_with_their_models_are_known(alone: None) -> None:
    from torch.distributed.optim import ZeroRedundancyOptimizer

    model, other = DDP(plain()), nn.Linear(2, 2)
    make: Callable[..., Any]
    for expected, make in ((True, torch.optim.AdamW), (True, torch.optim.SGD), (False, OtherAdam)):
        assert decided(model, make(model.parameters(), lr=0.1)) is expected, make
    assert decided(model, torch.optim.SGD(model.module.parameters(), lr=0.1))
    assert not decided(model, torch.optim.SGD([*model.parameters(), *other.parameters()], lr=0.1))
    assert not decided(model, [torch.optim.SGD(model.parameters(), lr=0.1), OtherAdam(model.parameters(), lr=0.1)])
    assert not decided(model, ZeroRedundancyOptimizer(model.parameters(), optimizer_class=torch.optim.SGD, lr=0.1))


def refusal(model: Any, optimizer: Any) -> str:
    with pytest.raises(InvalidArgumentError) as caught:
        is_replicated(True, TrainingState(model, optimizer, None, False, None), 0, 2)
    assert not decided(model, optimizer)
    return str(caught.value)


def test_what_each_rank_has_a_part_of_is_refused_by_name(alone: None, tmp_path: Path) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
    from torch.distributed.optim import ZeroRedundancyOptimizer

    spread, model = plain(), plain()
    fully_shard(spread, mesh=init_device_mesh("cpu", (1,)))
    assert "of model['0.weight'] (a DTensor) each rank holds a part" in refusal(spread, None)
    assert "of optimizer (DTensors) each" in refusal(None, torch.optim.SGD(spread.parameters(), lr=0.1))
    assert "of model['a'] (FullyShardedDataParallel)" in refusal({"a": FullyShardedDataParallel(plain(), device_id=torch.device("cpu"))}, None)
    divided = ZeroRedundancyOptimizer(model.parameters(), optimizer_class=torch.optim.SGD, lr=0.1)
    assert "of optimizer[0] (ZeroRedundancyOptimizer)" in refusal(model, [divided])
    with pytest.raises(InvalidArgumentError, match=r"model\['0.weight'\]"):
        stillframe.Checkpointer(tmp_path / "never", model=spread, replicated=True)
    assert not (tmp_path / "never").exists()
    assert is_replicated(None, TrainingState(spread, None, None, False, None), 0, 2) is False
