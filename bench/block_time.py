#!/usr/bin/env python3
"""How long a snapshot holds training up, against torch.save + fsync of the same state, interleaved in one run.

    python bench/block_time.py --rounds 12 --json figures.json

The state is that of examples/train_gpt.py (model, AdamW, schedule) after real training steps. One round is

    snapshot(step) -> forward, backward, optimizer.step() (the fence is in it) -> durable
    torch.save(state) -> fsync -> forward, backward, optimizer.step()

with the two halves in turn first. Stillframe's block time is the host time of the call plus that of the fence; that of
torch.save is the host time of the save plus that of the fsync. Nothing else runs while either is measured: the snapshot
is durable before torch.save starts. The ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional

import torch
from torch import nn

from figures import ScratchFolder, add_output_arguments, columns, deliver, environment
from peers import torch_save

WARM_UP_ROUNDS = 2  # on both sides, not counted: the arena is made, the page cache and the allocator are warm
DURABLE_TIMEOUT_SECONDS = 300.0
LEAST_PARAMETERS = 10_000_000
ROWS = (
    ("stillframe", "call", "snapshot_call_seconds"),
    ("stillframe", "fence", "fence_seconds"),
    ("stillframe", "block = call + fence", "stillframe_block_seconds"),
    ("torch.save", "save", "torch_save_save_seconds"),
    ("torch.save", "fsync", "torch_save_fsync_seconds"),
    ("torch.save", "block = save + fsync", "torch_save_block_seconds"),
)


def load_example() -> ModuleType:
    path = Path(__file__).resolve().parent.parent / "examples" / "train_gpt.py"
    spec = importlib.util.spec_from_file_location("train_gpt", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Training:
    """The loop of the example without its hook."""

    def __init__(self, device: str, seed: int, steps: int) -> None:
        self._example = load_example()
        self._device = device
        self._text = self._example.load_text()
        self._cursor = torch.Generator().manual_seed(seed)
        self.model: nn.Module = self._example.build_model(seed).to(device)
        self.optimizer: torch.optim.Optimizer = self._example.build_optimizer(self.model)
        self.scheduler = self._example.build_scheduler(self.optimizer, steps)
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())

    def step(self) -> float:
        """One optimizer step; returns its seconds."""
        self.settle()
        begun = time.perf_counter()
        inputs, targets = self._example.next_batch(self._text, self._cursor, self._device)
        self._example.forward_backward(self.model, inputs, targets)
        nn.utils.clip_grad_norm_(self.model.parameters(), self._example.CLIP_NORM)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.settle()
        return time.perf_counter() - begun

    def settle(self) -> None:
        """What the device still has to do is charged to nobody's block time."""
        if self._device.startswith("cuda"):
            torch.cuda.synchronize()

    def state(self) -> Dict[str, Any]:
        scheduler = {key: value for key, value in self.scheduler.state_dict().items() if key != "lr_lambdas"}
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": scheduler,
            "random": torch.get_rng_state(),
        }

    def tensor_bytes(self) -> int:
        """Bytes of parameters and optimizer state; a tied tensor counts once."""
        tensors: List[torch.Tensor] = list(self.model.parameters())
        for entry in self.optimizer.state.values():
            tensors += [value for value in entry.values() if isinstance(value, torch.Tensor)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def measure_stillframe(training: Training, checkpointer: Any, step: int) -> Dict[str, float]:
    training.settle()
    begun = time.perf_counter()
    ticket = checkpointer.snapshot(step)
    called = time.perf_counter() - begun
    step_seconds = training.step()
    if not ticket.wait_durable(DURABLE_TIMEOUT_SECONDS):
        raise SystemExit(f"the snapshot of step {step} did not become durable: {ticket.error}")
    fence = ticket.timings.fence_seconds
    return {
        "snapshot_call_seconds": called,
        "fence_seconds": fence,
        "stillframe_block_seconds": called + fence,
        "step_after_snapshot_seconds": step_seconds,
    }


def measure_torch_save(training: Training, path: Path) -> Dict[str, float]:
    figures = {f"torch_save_{name}": value for name, value in torch_save(training, path).items()}
    return {**figures, "step_after_save_seconds": training.step()}


def run_rounds(args: argparse.Namespace, folder: Path, training: Training) -> List[Dict[str, float]]:
    import stillframe

    training.step()  # AdamW has its state from here on
    rounds: List[Dict[str, float]] = []
    with stillframe.Checkpointer(
        str(folder / "store"),
        model=training.model,
        optimizer=training.optimizer,
        scheduler=training.scheduler,
        rng=True,
        retention=stillframe.Retention(keep_last=2),
    ) as checkpointer:
        for number in range(WARM_UP_ROUNDS + args.rounds):
            halves: List[Callable[[], Dict[str, float]]] = [
                lambda: measure_stillframe(training, checkpointer, number),
                lambda: measure_torch_save(training, folder / "state.pt"),
            ]
            figures: Dict[str, float] = {}
            for half in halves if number % 2 == 0 else reversed(halves):
                figures.update(half())
            if number >= WARM_UP_ROUNDS:
                rounds.append(figures)
    return rounds


def print_table(result: Dict[str, Any]) -> None:
    state = result["state"]
    print(
        f"{state['parameters'] / 1e6:.1f} M parameters, {state['tensor_bytes'] / 2**20:.1f} MiB of tensors, "
        f"device {state['device']}, {result['rounds']} rounds, torch {result['environment']['torch']}, "
        f"{result['environment']['torch_threads']} threads"
    )
    print(f"{'':12}{'host time':24}{'median ms':>12}{'least ms':>12}{'most ms':>12}")
    for side, label, name in ROWS:
        row = result["seconds"][name]
        cells = "".join(f"{row[column] * 1e3:12.3f}" for column in ("median", "least", "most"))
        print(f"{side:12}{label:24}{cells}")
    print(f"torch.save + fsync blocks {result['ratio_of_medians']:.1f} times as long as Stillframe (ratio of medians)")


def parse_arguments(argv: Optional[List[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="counted, after the warm-up (default: %(default)s)")
    add_output_arguments(parser)
    parser.add_argument("--threads", type=int, default=2, help="of torch on the CPU (default: %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    args = parser.parse_args(argv)
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    return args


def main(argv: Optional[List[str]] = None) -> int:
    args = parse_arguments(argv)
    torch.set_num_threads(args.threads)
    training = Training(args.device, args.seed, steps=2 * (WARM_UP_ROUNDS + args.rounds) + 1)
    if training.parameters < LEAST_PARAMETERS:
        raise SystemExit(f"the example has {training.parameters} parameters; this figure needs {LEAST_PARAMETERS}")
    with ScratchFolder("block-time", args.dir) as folder:
        rounds = run_rounds(args, folder, training)
    seconds = columns(rounds)
    deliver({
        "state": {"parameters": training.parameters, "tensor_bytes": training.tensor_bytes(), "device": args.device},
        "environment": environment(),
        "rounds": args.rounds,
        "seconds": seconds,
        "each_round_seconds": rounds,
        "ratio_of_medians":
            seconds["torch_save_block_seconds"]["median"] / seconds["stillframe_block_seconds"]["median"],
    }, args.json, print_table)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
