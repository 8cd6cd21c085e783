"""Extra step time on the CUDA driver fake, whose copies take as long as a set bandwidth says and no CPU time for it."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Dict

from figures import Missing, Outcome, Row, summary

STATE_MEBIBYTES = 16
STEPS_IN_A_TURN = 20
PERSIST_EVERY_STEPS = 20
FORWARD_BACKWARD_IN_COPIES = 2.5
TIMEOUT_SECONDS = 600.0
BANDWIDTHS = {
    "FAKE_CUDA_DTOH_BYTES_PER_S": "400000000",  # a copy of the state takes 42 ms
    "FAKE_CUDA_DTOD_BYTES_PER_S": "100000000",  # the work on the device: one copy takes 10 ms
    "FAKE_CUDA_RACES": "off",
    "FAKE_CUDA_POISON": "0",
}
WORK_KIBIBYTES = 1024


def built(*path: str) -> Path:
    build = os.environ.get("STILLFRAME_BUILD_DIR")
    if not build:
        raise Missing("STILLFRAME_BUILD_DIR is not set: it names the build directory, as scripts/setup --build says")
    found = Path(build, *path)
    if not found.exists():
        raise Missing(f"{found} is not there: cmake --build {build} --target gpu_figures fake_cuda stillframed")
    return found


def fake_environment() -> Dict[str, str]:
    folders = [str(built("tests", "fake_cuda", "libcuda.so.1").parent), os.environ.get("LD_LIBRARY_PATH", "")]
    apps = built("src", "apps", "stillframed").parent
    return {**os.environ, **BANDWIDTHS, "LD_LIBRARY_PATH": ":".join(filter(None, folders)),
            "PATH": f"{apps}:{os.environ['PATH']}"}  # fmt: skip


def step_on_the_fake(args: argparse.Namespace, folder: Path) -> Outcome:
    command = [str(built("bench", "gpu_figures")), "steps", "--store", str(folder / "store"), "--tensors", "8",
               "--megabytes", str(STATE_MEBIBYTES), "--rounds", str(args.turns), "--steps", str(STEPS_IN_A_TURN),
               "--work-kilobytes", str(WORK_KIBIBYTES), "--fit", str(FORWARD_BACKWARD_IN_COPIES),
               "--persist-every", str(PERSIST_EVERY_STEPS)]  # fmt: skip
    done = subprocess.run(command, env=fake_environment(), stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_SECONDS,
                          check=True)  # fmt: skip
    raw = json.loads(done.stdout)
    plain, snapped = summary(raw["plain_seconds"])["median"], summary(raw["with_snapshot_seconds"])["median"]
    block = summary(raw["block_seconds"])
    share = (snapped - plain) / plain
    row = Row(
        f"extra step time, a snapshot every step, persist every {PERSIST_EVERY_STEPS}th, on the CUDA driver fake with a set "
        "bandwidth",
        "<= 1 %", f"{share:+.2%}", share <= 0.01,
        f"a step {plain * 1e3:.1f} ms, its copy {raw['copy_seconds'] * 1e3:.1f} ms; host time of call and fence "
        f"{block['median'] * 1e3:.3g} ms (p99 {block['p99'] * 1e3:.3g}); {raw['skipped']} skipped",
    )  # fmt: skip
    return Outcome([row], raw)
