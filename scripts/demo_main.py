"""Trains examples/train_gpt.py, kills it again and again, and shows that it ends as if nothing had happened.

Exit code 0 only when no acknowledged snapshot was lost and the end is bit-identical to an uninterrupted run's.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any, List, NoReturn, Optional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

from demo_compare import count_tensors, differences, load_final_state, loss_differences, loss_values  # noqa: E402
from demo_kill import Killer  # noqa: E402
from demo_phases import PhaseTracker, parse_log_line  # noqa: E402
from demo_processes import DemoError, Trainer, stop_daemon  # noqa: E402
from demo_report import snapshot_table  # noqa: E402
from train_gpt import build_model  # noqa: E402

STORE = Path("runs/demo")  # as a user would name it, from the root of the checkout
FILES = Path("runs/demo-files")
AIMS = ("copy", "persist", "commit", "idle")
AIM_SECONDS = 60.0  # a phase that does not come within this is given up, and the kill strikes where it strikes


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--kills", type=int, default=5, metavar="N", help="default: %(default)s")
    parser.add_argument("--kill", choices=("trainer", "daemon", "both"), default="trainer", help="default: %(default)s")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--budget-bytes", type=int, metavar="B", help="hard limit of the arena")
    budget.add_argument("--budget-fraction", type=float, metavar="F", help="the same, as a part of the state's bytes")
    parser.add_argument("--steps", type=int, metavar="N", help="default: 10 for each kill and 10 more")
    parser.add_argument("--snapshot-every", type=int, default=4, metavar="STEPS", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the training and of the random kills")
    args = parser.parse_args()
    if args.kills < 0 or args.snapshot_every < 1:
        parser.error("--kills must be at least 0 and --snapshot-every at least 1")
    args.steps = args.steps or 10 * (args.kills + 1)
    if args.steps < 2 * args.snapshot_every * (args.kills + 1):
        parser.error(f"--steps must be at least {2 * args.snapshot_every * (args.kills + 1)} for {args.kills} kills")
    return args


def start_afresh() -> None:
    """Removes what an earlier demo left, and nothing that does not look like it."""
    for folder, own in ((STORE, is_store), (FILES, is_files)):
        if folder.is_symlink() or (folder.exists() and not own(folder)):
            raise DemoError(f"{folder} does not look like an earlier demo's; nothing was removed. Move it away")
    for folder in (STORE, FILES):
        if folder.exists():
            shutil.rmtree(folder)
    FILES.mkdir(parents=True)
    (FILES / "of-the-demo").touch()


def is_store(folder: Path) -> bool:
    return (folder / "sequence").is_file() or (folder / "store.lock").is_file() or not any(folder.iterdir())


def is_files(folder: Path) -> bool:
    return (folder / "of-the-demo").is_file()


def state_bytes() -> int:
    """Parameters and AdamW's two moments; what else there is fits in a fraction of one percent."""
    return sum(3 * p.numel() * p.element_size() for p in build_model().parameters())


def write_daemon_config() -> Path:
    path = FILES / "stillframed.toml"
    path.write_text(
        "# Of the daemon that the demo's trainer starts.\n"
        f'[daemon]\nidle_exit_seconds = 30\n\n[log]\nlevel = "info"\npath = "{(FILES / "daemon.log").resolve()}"\n'
    )
    return path


def common_flags(args: argparse.Namespace) -> List[str]:
    return ["--steps", str(args.steps), "--snapshot-every", str(args.snapshot_every), "--seed", str(args.seed)]


def trainer_flags(args: argparse.Namespace, budget: Optional[int]) -> List[str]:
    flags = common_flags(args) + ["--store", str(STORE), "--daemon-config", str(write_daemon_config())]
    flags += ["--loss-log", str(FILES / "loss.jsonl"), "--events", str(FILES / "events.jsonl")]
    flags += ["--final-state", str(FILES / "final.pt")]
    return flags + (["--budget-bytes", str(budget)] if budget else [])


def train_uninterrupted(args: argparse.Namespace) -> None:
    flags = common_flags(args) + ["--no-checkpoint", "--loss-log", str(FILES / "loss-uninterrupted.jsonl")]
    trainer = Trainer(flags + ["--final-state", str(FILES / "final-uninterrupted.pt")], FILES / "uninterrupted.log")
    try:
        trainer.start()
        trainer.finish(30 + 5.0 * args.steps)
    finally:
        trainer.clean_up()


def train_and_kill(args: argparse.Namespace, budget: Optional[int], ring: bool) -> PhaseTracker:
    tracker = PhaseTracker(FILES / "events.jsonl", FILES / "daemon.log")
    trainer = Trainer(trainer_flags(args, budget), FILES / "trainer.log")
    killer = Killer(args.kill, trainer, tracker, FILES / "loss.jsonl", ring)
    dice = random.Random(args.seed)
    try:
        trainer.start()
        for number in range(args.kills):
            aim = AIMS[number] if number < len(AIMS) else None
            delay = dice.uniform(0.0, 2.0 * args.snapshot_every * 0.4)
            killer.strike(aim, (number + 1) * args.steps // (args.kills + 1), delay, AIM_SECONDS)
            print(killer.rows[-1].text(number + 1), flush=True)
        trainer.finish(60 + 5.0 * args.steps)
        tracker.poll()
    finally:
        trainer.clean_up()
        tracker.poll()
        stop_daemon(tracker.daemon_pid)
    expected_starts = 1 + (args.kills if args.kill != "daemon" else 0)
    if len(tracker.starts) != expected_starts:
        raise DemoError(f"the trainer was started {len(tracker.starts)} times, not {expected_starts}")
    print(f"\n{killer.summary()}\n\n{killer.table()}")
    return tracker


def print_arena(state: int) -> None:
    """How the snapshots lived in memory, as the daemon granted it."""
    lines = (FILES / "daemon.log").read_text().splitlines()
    grants = [found.fields for found in map(parse_log_line, lines) if found and found.name == "arena.ready"]
    if grants:
        last = grants[-1]
        granted, image = int(last["committed_bytes"]), int(last["image_bytes"])
        print(f"\narena: {last['mode']}, {granted / 1e6:.1f} MB for images of {image / 1e6:.1f} MB "
              f"({granted / state:.2f} of the state; limit {int(last['budget_bytes']) / 1e6:.1f} MB)")


def print_figures(tracker: PhaseTracker) -> None:
    print("\nper snapshot (times from the call; host block is call and fence):")
    print(snapshot_table(tracker.figures))
    for failure in tracker.failures:
        print(f"not kept: step {failure['step']}: {failure['reason']}")
    restores = [start["restore_seconds"] for start in tracker.starts if start["restore_seconds"] is not None]
    if restores:
        print(f"restore: {len(restores)} times, median {median(restores):.3f} s, longest {max(restores):.3f} s")
    for start in tracker.starts:
        for reason in start["skipped"]:
            print(f"restore passed over {reason}")


def compare() -> bool:
    mine, other = load_final_state(FILES / "final.pt"), load_final_state(FILES / "final-uninterrupted.pt")
    found = loss_differences(FILES / "loss.jsonl", FILES / "loss-uninterrupted.jsonl") + differences(mine, other)
    steps = len(loss_values(FILES / "loss-uninterrupted.jsonl"))
    print(f"\ncompared with an uninterrupted run: {count_tensors(mine)} tensors, {steps} losses")
    print(f"bit-identical: {'no' if found else 'yes'}")
    for line in found[:20]:
        print(f"  {line}")
    if len(found) > 20:
        print(f"  and {len(found) - 20} more")
    return not found


def stop_on_signal(number: int, frame: Any) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> int:
    args = parse_arguments()
    signal.signal(signal.SIGTERM, stop_on_signal)
    started = time.monotonic()
    start_afresh()
    state = state_bytes()
    budget = args.budget_bytes or (int(state * args.budget_fraction) if args.budget_fraction else None)
    limit = f"{budget / 1e6:.0f} MB ({budget / state:.2f} of the state)" if budget else "the daemon's default"
    print(f"state {state / 1e6:.0f} MB, arena {limit}; {args.steps} steps, a snapshot every {args.snapshot_every}")
    print(f"{args.kills} kills of {'trainer and daemon' if args.kill == 'both' else 'the ' + args.kill}\n", flush=True)
    tracker = train_and_kill(args, budget, ring=budget is not None and budget < state)
    print(f"\n$ stillframe ls {STORE}", flush=True)
    subprocess.run(["stillframe", "ls", str(STORE)], check=True, timeout=60)
    print_arena(state)
    print_figures(tracker)
    sys.stdout.flush()
    print("\nhost block time against torch.save + fsync of the same state, interleaved:", flush=True)
    block_time = [sys.executable, "-B", "bench/block_time.py", "--rounds", "6", "--dir", str(FILES)]
    subprocess.run(block_time, check=True, timeout=180)
    train_uninterrupted(args)
    same = compare()
    print(f"{time.monotonic() - started:.0f} s")
    return 0 if same else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (DemoError, subprocess.SubprocessError) as error:
        print(f"scripts/demo: {error}", file=sys.stderr)
        sys.exit(1)
