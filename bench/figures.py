"""What the figures of every script here have in common: their summary, the machine they are of, and where they go."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch

ROOM_TIMEOUT_SECONDS = 60.0
RESULTS = Path(__file__).resolve().parent / "results"


@dataclass
class Row:
    """One line of the table of bench/compare. `measured` compares with `goal` as `reached` says."""

    what: str
    goal: str
    measured: str
    reached: bool
    against: str = ""  # what else was measured in the same run, for or against us


@dataclass
class Outcome:
    """What one measurement gives: lines of the table, and every figure behind them."""

    rows: List[Row] = field(default_factory=list)
    raw: Dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> Dict[str, Any]:
        return {"rows": [asdict(row) for row in self.rows], "raw": self.raw}


class Missing(Exception):
    """A peer or a program that a measurement needs is not there; the text says how to get it."""


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the sorted values lie."""
    return values[min(len(values) - 1, int(len(values) * share))]


def summary(values: Sequence[float]) -> Dict[str, float]:
    ordered = sorted(values)
    return {
        "median": statistics.median(ordered),
        "p99": percentile(ordered, 0.99),
        "least": ordered[0],
        "most": ordered[-1],
    }


def columns(rounds: Sequence[Dict[str, float]]) -> Dict[str, Dict[str, float]]:
    """The summary of each name over all rounds."""
    return {name: summary([figures[name] for figures in rounds]) for name in rounds[0]}


def environment() -> Dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }


def results_file(name: str) -> Path:
    """Where a run is kept: bench/results/<date>-<name>.json."""
    return RESULTS / f"{environment()['date']}-{name}.json"


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", default=".", help="the file system that is written to (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="all figures as JSON; - is standard output, without the table")


def write_json(result: Dict[str, Any], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def deliver(result: Dict[str, Any], target: Optional[str], print_table: Callable[[Dict[str, Any]], None]) -> None:
    """The table on standard output and the figures where --json says, or the figures alone."""
    if target == "-":
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
        return
    print_table(result)
    if target:
        write_json(result, Path(target))


def snapshot_taken(checkpointer: Any, step: int) -> Any:
    """The ticket of a snapshot that was not skipped. Room may come back a moment after a ticket says durable."""
    give_up = time.monotonic() + ROOM_TIMEOUT_SECONDS
    while True:
        ticket = checkpointer.snapshot(step)
        if not ticket.skipped:
            return ticket
        if time.monotonic() > give_up:
            raise SystemExit(f"the snapshot of step {step} is always skipped: {ticket.error}")


class ScratchFolder:
    """A folder under --dir that goes with all that was written into it."""

    def __init__(self, name: str, parent: str) -> None:
        self._path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))

    def __enter__(self) -> Path:
        return self._path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
