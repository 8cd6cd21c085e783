"""Host time of snapshot() with the walk cached, by number of guarded tensors and size of the state."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any, Dict, List

import torch

import snapshot_call
from figures import Outcome, Row

TENSORS = (1000, 10000)
MICROSECOND = 1e-6


def host_time_of_the_call(args: argparse.Namespace, folder: Path) -> Outcome:
    torch.set_num_threads(1)
    wanted = argparse.Namespace(calls=args.calls, fences=5)
    runs: Dict[int, List[Dict[str, Any]]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of snapshots that are withdrawn
        for tensors in TENSORS:
            runs[tensors] = [snapshot_call.measure(tensors, size, wanted, folder) for size in (10.0, args.large_megabytes)]
    outcome = Outcome(raw={"calls": args.calls, "runs": [run for pair in runs.values() for run in pair]})
    few, many = (runs[tensors][0]["call_seconds"]["call"] for tensors in TENSORS)
    parts = parts_of(runs[TENSORS[0]][0]), parts_of(runs[TENSORS[1]][0])
    outcome.rows += [
        Row("host time of snapshot(), 1,000 guarded tensors, 10 MB", "<= 200 us p99", f"{few['p99'] / MICROSECOND:.0f} us p99",
            few["p99"] <= 200 * MICROSECOND, f"median {few['median'] / MICROSECOND:.0f} us: {parts[0]}"),
        Row("host time of snapshot(), 10,000 guarded tensors, 10 MB", "<= 1500 us median",
            f"{many['median'] / MICROSECOND:.0f} us median", many["median"] <= 1500 * MICROSECOND,
            f"p99 {many['p99'] / MICROSECOND:.0f} us: {parts[1]}"),
    ]  # fmt: skip
    for tensors, (small, large) in runs.items():
        medians = [run["call_seconds"]["call"]["median"] for run in (small, large)]
        change = medians[1] / medians[0] - 1
        outcome.rows.append(Row(
            f"the same at {large['state_bytes'] / 1e6:.0f} MB as at {small['state_bytes'] / 1e6:.0f} MB, {tensors:,} tensors",
            "+- 20 %", f"{change:+.1%}", abs(change) <= 0.2,
            " and ".join(f"{median / MICROSECOND:.0f} us" for median in medians),
        ))  # fmt: skip
    return outcome


def parts_of(run: Dict[str, Any]) -> str:
    names = [name for name in snapshot_call.CALL_PARTS if name != "call"]
    return ", ".join(f"{name} {run['call_seconds'][name]['median'] / MICROSECOND:.0f}" for name in names)
