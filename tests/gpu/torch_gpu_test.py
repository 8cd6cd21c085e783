"""Training with torch on a real GPU: what is captured is what a run that was never stopped had, bit for bit, and the host
waits for no copy. Skipped, with the reason, where torch finds no GPU."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
import torch
from torch import nn

import stillframe
from support import same
from training import DEADLINE_SECONDS, Child

HERE = Path(__file__).resolve().parent
WIDTH = 256
STEPS = 6

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or torch.version.hip is not None, reason="torch finds no NVIDIA GPU on this machine"
)

OPTIMIZERS: Dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "foreach": lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, foreach=True),
    "fused": lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, fused=True),
    "capturable": lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, capturable=True),
}


class GpuRun:
    """A model with batch norm, AdamW, autocast with a GradScaler; the same in every process that makes it."""

    def __init__(self, optimizer: str = "fused", half: bool = True) -> None:
        torch.manual_seed(5)
        torch.use_deterministic_algorithms(True)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        self.model = nn.Sequential(
            nn.Linear(64, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Dropout(0.1), nn.Linear(WIDTH, 8)
        ).cuda()
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        # So large a scale overflows at first: some steps are skipped.
        self.scaler = torch.amp.GradScaler("cuda", init_scale=2.0**40, enabled=half)
        self.half = half

    def step(self, number: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(number)
        batch = torch.randn(32, 64, generator=generator).cuda(non_blocking=True)
        with torch.autocast("cuda", torch.float16, enabled=self.half):
            loss: torch.Tensor = self.model(batch).float().square().mean()
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    def checkpointer(self, store: Path, **options: Any) -> stillframe.Checkpointer:
        return stillframe.Checkpointer(
            store, model=self.model, optimizer=self.optimizer, rng=True, state={"scaler": self.scaler}, **options
        )

    def everything(self) -> Dict[str, Any]:
        found = {"model": dict(self.model.state_dict()), "optimizer": self.optimizer.state_dict(),
                 "scaler": self.scaler.state_dict(), "rng": torch.cuda.get_rng_state()}  # fmt: skip
        copied: Dict[str, Any] = torch.utils._pytree.tree_map(
            lambda one: one.detach().cpu().clone() if isinstance(one, torch.Tensor) else one, found
        )
        return copied


def uninterrupted(optimizer: str, half: bool) -> Dict[str, Any]:
    run = GpuRun(optimizer, half)
    for step in range(STEPS):
        run.step(step)
    return run.everything()


def in_the_plan(ckpt: stillframe.Checkpointer) -> Dict[str, int]:
    plan: Any = ckpt.status()["plan"]
    return {name: int(plan[name]) for name in ("guarded_bytes", "unguarded_bytes")}


@pytest.mark.parametrize("half", [False, True], ids=["float32", "autocast"])
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_a_resumed_run_is_the_run_that_was_never_stopped(optimizer: str, half: bool, tmp_path: Path) -> None:
    expected = uninterrupted(optimizer, half)
    run = GpuRun(optimizer, half)
    with run.checkpointer(tmp_path) as ckpt:
        for step in range(STEPS // 2):
            run.step(step)
            ckpt.snapshot(step, wait=True, extra={"loss": torch.ones((), device="cuda")})
        assert in_the_plan(ckpt)["guarded_bytes"] > 0
    after = GpuRun(optimizer, half)
    with after.checkpointer(tmp_path) as ckpt:
        restored = ckpt.restore()
        assert restored is not None and restored.step == STEPS // 2 - 1
        assert all(parameter.is_cuda for parameter in after.model.parameters())
        for step in range(restored.step + 1, STEPS):
            after.step(step)
            ckpt.snapshot(step, wait=True)
    assert same(after.everything(), expected)


_KILLED = """
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from torch_gpu_test import GpuRun
run = GpuRun()
ckpt = run.checkpointer(Path(sys.argv[1]))
for step in range(100):
    run.step(step)
    ticket = ckpt.snapshot(step, wait=True)
    if step == 2:
        ticket.wait_captured(60)
        print("captured", flush=True)
"""


def test_a_killed_run_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    with Child(_KILLED, str(tmp_path), str(HERE)) as child:
        child.hear("captured")
        child.kill()
    run = GpuRun()
    with run.checkpointer(tmp_path) as ckpt:
        restored = ckpt.restore()
        assert restored is not None and restored.step >= 2
        last = restored.step + 3
        for step in range(restored.step + 1, last):
            run.step(step)
    twin = GpuRun()
    for step in range(last):
        twin.step(step)
    assert same(run.everything(), twin.everything())


def test_updates_on_a_stream_of_the_users_wait_for_the_copies(tmp_path: Path) -> None:
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    weight = nn.Parameter(torch.zeros(32 << 20, device="cuda"))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    model = nn.Module()
    model.register_parameter("weight", weight)
    stream.wait_stream(torch.cuda.current_stream())
    tickets: List[stillframe.Ticket] = []
    keep = stillframe.Retention(keep_last=10)
    with stillframe.Checkpointer(tmp_path, model=model, optimizer=optimizer, retention=keep) as ckpt:
        with torch.cuda.stream(stream):
            for step in range(4):
                weight.grad = torch.full_like(weight, -1.0)
                optimizer.step()
                tickets.append(ckpt.snapshot(step, wait=True))
    for step, ticket in enumerate(tickets):
        assert ticket.verified, ticket.error
        saved = stillframe.load(f"{tmp_path}@{step}")["model"]["weight"]
        assert bool((saved == step + 1).all())


def test_replays_of_a_graph_behind_a_fence(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.zeros(8 << 20, device="cuda"))
    weight.grad = torch.full_like(weight, -1.0)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    model = nn.Module()
    model.register_parameter("weight", weight)
    keep = stillframe.Retention(keep_last=10)
    with stillframe.Checkpointer(tmp_path, model=model, optimizer=optimizer, retention=keep) as ckpt:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            optimizer.step()  # warm-up
        torch.cuda.current_stream().wait_stream(side)
        pending = ckpt.snapshot(0)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):  # a snapshot is pending: the hook gives nothing to the stream
            optimizer.step()
        assert pending.wait_verified(DEADLINE_SECONDS)
        for step in range(1, 4):
            ckpt.fence()  # a replay runs no hook
            graph.replay()
            ckpt.snapshot(step, wait=True)
    for step in range(4):
        assert bool((stillframe.load(f"{tmp_path}@{step}")["model"]["weight"] == step + 1).all())


def test_a_metric_on_the_gpu_is_stored_and_extra_takes_it_too(tmp_path: Path) -> None:
    loss = torch.full((), float("nan"), device="cuda")
    with stillframe.Checkpointer(tmp_path) as ckpt:
        ckpt.snapshot(0, metrics={"loss": loss, "half": loss.new_full((1,), 0.5).half()}, extra={"loss": loss})
        loss.zero_()
    manifest = json.loads(next(tmp_path.glob("*/manifest.json")).read_text())
    assert manifest["metrics"] == {"loss": {"$float": "nan"}, "half": 0.5}
    assert bool(stillframe.load(tmp_path)["extra"]["loss"].isnan())


def test_the_call_and_the_fence_do_not_wait_for_the_copy(tmp_path: Path) -> None:
    """Behind a computation that takes long, both return while the copy cannot have begun."""
    run = GpuRun()
    run.step(0)
    with run.checkpointer(tmp_path) as ckpt:
        ckpt.snapshot(0).wait_verified(DEADLINE_SECONDS)  # the plan is made, the arena pinned
        ckpt.fence()
        torch.cuda.synchronize()
        torch.cuda._sleep(2_000_000_000)  # type: ignore[no-untyped-call]  # cycles: about a second
        busy = torch.cuda.Event()  # type: ignore[no-untyped-call]
        busy.record()
        ticket = ckpt.snapshot(1)
        ckpt.fence()
        assert not busy.query(), "the GPU had ended what was given before the call"  # type: ignore[no-untyped-call]
        assert ticket.wait_verified(DEADLINE_SECONDS)


