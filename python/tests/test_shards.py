"""Tensors that are spread over processes: a rank saves its part and gets it back, and goes on as if never stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training import DEADLINE_SECONDS, HERE

pytestmark = [
    pytest.mark.usefixtures("library"),
    pytest.mark.skipif(not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
                       reason="this torch has no gloo"),
]  # fmt: skip

_PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[2])
import torch, torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
import stillframe
from support import same

os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="0", RANK="0", WORLD_SIZE="1")
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
mesh = init_device_mesh("cpu", (1,))

def make():
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    fully_shard(model, mesh=mesh)
    return model, torch.optim.AdamW(model.parameters(), lr=0.01)

def step(model, optimizer, number):
    optimizer.zero_grad()
    model(torch.randn(4, 8, generator=torch.Generator().manual_seed(number))).square().mean().backward()
    optimizer.step()

def parts(model, optimizer):
    tensors = list(model.state_dict().values())
    for state in optimizer.state_dict()["state"].values():
        tensors += state.values()
    return [(one.to_local() if isinstance(one, DTensor) else one).detach().clone() for one in tensors]

model, optimizer = make()
assert all(isinstance(one, DTensor) for one in model.parameters())
with stillframe.Checkpointer(sys.argv[1], model=model, optimizer=optimizer) as ckpt:
    for number in range(3):
        step(model, optimizer, number)
        saved = parts(model, optimizer)
        ticket = ckpt.snapshot(number, wait=True)
    plan = ckpt.status()["plan"]
    step(model, optimizer, 3)
    expected = parts(model, optimizer)
print("verified", ticket.verified, "guarded", plan["guarded_bytes"] == sum(one.nbytes for one in saved))

model, optimizer = make()
with stillframe.Checkpointer(sys.argv[1], model=model, optimizer=optimizer) as ckpt:
    assert ckpt.restore().step == 2
    print("restored", same(parts(model, optimizer), saved))
    moments = [state["exp_avg"] for state in optimizer.state.values()]
    print("spread", all(isinstance(one, DTensor) for one in moments))
    step(model, optimizer, 3)
    print("equal", same(parts(model, optimizer), expected))
    torn = ckpt.snapshot(4)
    with torch.no_grad():
        next(model.parameters()).mul_(2.0)
    ckpt.fence()
    print("torn", torn.state)
dist.destroy_process_group()
"""


def test_the_local_parts_of_fsdp_are_saved_and_come_back(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _PROGRAM, str(tmp_path), str(HERE)],
                          capture_output=True, text=True, timeout=3 * DEADLINE_SECONDS)  # fmt: skip
    assert done.stdout.splitlines() == [
        "verified True guarded True", "restored True", "spread True", "equal True", "torn abandoned"
    ], done.stderr  # fmt: skip


_UNEVEN = """
import os, sys
sys.path.insert(0, sys.argv[2])
import torch, torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
import stillframe
from support import same

rank = int(os.environ["RANK"])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))

def make(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 3), nn.ReLU(), nn.Linear(3, 1))
    fully_shard(model, mesh=mesh)
    return model, torch.optim.AdamW(model.parameters(), lr=0.01)

def step(model, optimizer, number):
    optimizer.zero_grad()
    model(torch.randn(4, 8, generator=torch.Generator().manual_seed(2 * number + rank))).square().mean().backward()
    optimizer.step()

def parts(model, optimizer):
    tensors = list(model.parameters()) + [one for state in optimizer.state.values() for one in state.values()]
    return [getattr(one, "_local_tensor", one).detach().clone() for one in tensors]

model, optimizer = make(2)
print("rows", *(len(one._local_tensor) for one in model.parameters()))
with stillframe.Checkpointer(sys.argv[1], model=model, optimizer=optimizer) as ckpt:
    for number in range(3):
        step(model, optimizer, number)
    saved = parts(model, optimizer)
    ckpt.snapshot(2, wait=True)
    step(model, optimizer, 3)
    expected = parts(model, optimizer)
model, optimizer = make(5)
with stillframe.Checkpointer(sys.argv[1], model=model, optimizer=optimizer) as ckpt:
    assert ckpt.restore().step == 2
    print("restored", same(parts(model, optimizer), saved))
    step(model, optimizer, 3)
    print("equal", same(parts(model, optimizer), expected))
dist.destroy_process_group()
"""


def test_uneven_and_empty_parts_of_two_ranks_come_back(tmp_path: Path) -> None:
    ranks = []
    for rank in range(2):
        place = {**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        command = [sys.executable, "-W", "ignore", "-c", _UNEVEN, str(tmp_path / "store"), str(HERE), str(tmp_path / "meeting")]
        ranks.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=place))
    try:
        said = [one.communicate(timeout=3 * DEADLINE_SECONDS) for one in ranks]
    finally:
        for one in ranks:
            one.kill()
    assert [out.splitlines() for out, _ in said] == [
        ["rows 2 2 1 1", "restored True", "equal True"],
        ["rows 1 1 0 0", "restored True", "equal True"],
    ], [error for _, error in said]
