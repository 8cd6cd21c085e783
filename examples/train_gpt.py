#!/usr/bin/env python3
"""Train a small GPT on the standard library's sources; kill it whenever you like and start it again.

    python examples/train_gpt.py --store runs/gpt --steps 60 --snapshot-every 4

The loop resumes where the newest checkpoint stands: model, optimizer, schedule, random states and the place in the
data. On the CPU a resumed run equals an uninterrupted one bit for bit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sysconfig
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCABULARY = 256  # bytes
CONTEXT = 96  # bytes a sample
BATCH = 8  # samples a step
LAYERS, HEADS, WIDTH = 6, 6, 384  # about 10.8 million parameters
DROPOUT = 0.1
LEARNING_RATE, WARM_UP_STEPS, CLIP_NORM = 3e-4, 10, 1.0
TEXT_BYTES = 4_000_000


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.norm_mlp = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(batch, length, 3, HEADS, WIDTH // HEADS)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        dropout = DROPOUT if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        x = x + self.drop(self.out(attended.transpose(1, 2).reshape(batch, length, WIDTH)))
        return x + self.drop(self.mlp(self.norm_mlp(x)))


class GPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Embedding(VOCABULARY, WIDTH)
        self.position = nn.Parameter(torch.zeros(CONTEXT, WIDTH))
        self.drop = nn.Dropout(DROPOUT)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.head.weight = self.token.weight  # tied, as in most GPTs

    def forward(self, tokens: Tensor) -> Tensor:
        """[batch, length] byte values to [batch, length, VOCABULARY] logits."""
        x = self.drop(self.token(tokens) + self.position[: tokens.shape[1]])
        return self.head(self.norm(self.blocks(x)))


def build_model(seed: int = 0) -> GPT:
    torch.manual_seed(seed)
    model = GPT()
    for parameter in model.parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.02)
    return model


def build_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.1)


def build_scheduler(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    def factor(step: int) -> float:
        if step < WARM_UP_STEPS:
            return (step + 1) / WARM_UP_STEPS
        progress = (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS)
        return 0.1 + 0.45 * (1.0 + math.cos(math.pi * min(1.0, progress)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def load_text() -> Tensor:
    """The sources of Python's standard library, in the order of their names, as a vector of byte values."""
    text = bytearray()
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        text += path.read_bytes()
    return torch.frombuffer(text[:TEXT_BYTES], dtype=torch.uint8)


def next_batch(text: Tensor, cursor: torch.Generator, device: str) -> Tuple[Tensor, Tensor]:
    starts = torch.randint(len(text) - CONTEXT - 1, (BATCH,), generator=cursor)
    samples = torch.stack([text[start : start + CONTEXT + 1] for start in starts.tolist()]).long().to(device)
    return samples[:, :-1], samples[:, 1:]


def forward_backward(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    logits = model(inputs)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    loss.backward()
    return loss.detach()


@contextlib.contextmanager
def open_checkpointer(args: argparse.Namespace, **state: Any) -> Iterator[Optional[Any]]:
    if args.no_checkpoint:
        yield None
        return
    import stillframe

    retention = stillframe.Retention(keep_last=args.keep_last)
    options = {"budget_bytes": args.budget_bytes, "daemon_config": args.daemon_config, "socket": args.socket}
    chosen = {name: value for name, value in options.items() if value is not None}
    with stillframe.Checkpointer(args.store, rng=True, retention=retention, **chosen, **state) as checkpointer:
        yield checkpointer


def line_writer(path: Optional[str]) -> Callable[[Dict[str, Any]], None]:
    """Appends JSON lines; each is out of this process when the call returns."""
    if path is None:
        return lambda record: None
    file = open(path, "a", encoding="utf-8", buffering=1)
    return lambda record: print(json.dumps(record), file=file)


def train(args: argparse.Namespace) -> None:
    device = args.device
    text = load_text()
    model = build_model(args.seed).to(device)
    optimizer = build_optimizer(model)
    scheduler = build_scheduler(optimizer, args.steps)
    cursor = torch.Generator().manual_seed(args.seed)
    log_loss = line_writer(args.loss_log)

    with open_checkpointer(args, model=model, optimizer=optimizer, scheduler=scheduler) as ckpt:
        resumed = ckpt.restore() if ckpt else None
        if resumed:
            cursor.set_state(resumed.extra["cursor"])
            print(f"resumed after step {resumed.step} in {resumed.seconds:.3f} s", flush=True)
        with watch_tickets(args.events, resumed) as watch:
            for step in range(resumed.step + 1 if resumed else 0, args.steps):
                inputs, targets = next_batch(text, cursor, device)
                loss = forward_backward(model, inputs, targets)
                nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad(set_to_none=True)
                value = loss.item()
                log_loss({"step": step, "loss": value})
                if ckpt and (step + 1) % args.snapshot_every == 0:
                    last = step + 1 == args.steps  # never skipped, however far the disk is behind
                    extra = {"cursor": cursor.get_state()}
                    watch(ckpt.snapshot(step, metrics={"loss": value}, extra=extra, wait=last))
    if args.final_state:
        save_final_state(args.final_state, model, optimizer, scheduler, cursor)
    print(f"finished {args.steps} steps", flush=True)


@contextlib.contextmanager
def watch_tickets(path: Optional[str], resumed: Optional[Any]) -> Iterator[Callable[[Any], None]]:
    """With --events, what becomes of each snapshot is written down; without, tickets are let go."""
    if path is None:
        yield lambda ticket: None
        return
    from snapshot_events import SnapshotEvents

    with SnapshotEvents(line_writer(path), resumed) as events:
        yield events.watch


def save_final_state(
    path: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LambdaLR,
    cursor: torch.Generator,
) -> None:
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": {key: value for key, value in scheduler.state_dict().items() if key != "lr_lambdas"},
        "random": torch.get_rng_state(),
        "cursor": cursor.get_state(),
    }
    torch.save(state, path)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="runs/gpt", help="directory of the checkpoints (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=60, help="optimizer steps in all (default: %(default)s)")
    parser.add_argument("--snapshot-every", type=int, default=4, metavar="STEPS", help="default: %(default)s")
    parser.add_argument("--keep-last", type=int, default=3, metavar="N", help="checkpoints kept (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, dropout and data (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of torch on the CPU (default: %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default: %(default)s")
    parser.add_argument("--budget-bytes", type=int, metavar="BYTES", help="hard limit of the arena")
    parser.add_argument("--daemon-config", metavar="FILE", help="TOML for a daemon that has to be started")
    parser.add_argument("--socket", metavar="PATH", help="of a running daemon; default: one is started when needed")
    parser.add_argument("--no-checkpoint", action="store_true", help="train without Stillframe")
    parser.add_argument("--loss-log", metavar="FILE", help="JSON lines, appended: step, loss")
    parser.add_argument("--events", metavar="FILE", help="JSON lines, appended: what becomes of each snapshot")
    parser.add_argument("--final-state", metavar="FILE", help="the state after the last step, by torch.save")
    args = parser.parse_args()
    if args.steps < 1 or args.snapshot_every < 1:
        parser.error("--steps and --snapshot-every must be at least 1")
    return args


if __name__ == "__main__":
    arguments = parse_arguments()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with it
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(arguments.threads)
    train(arguments)
