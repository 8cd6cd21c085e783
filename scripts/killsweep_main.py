"""Kills trainers and daemons of many stores, again and again, and holds the promises against what comes after.

After every kill: the newest checkpoint is the last one that was acknowledged as durable, or a newer one; every byte of
every checkpoint is what the trainer held at that step; the next trainer (after a daemon's death: the same one) goes on;
nothing of a dead writer is left. At the end `stillframe verify --all` finds nothing. Exit code 0 only then.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Dict, List, NoReturn, Optional, Tuple

from demo_report import table
from killsweep_phases import POINTS
from killsweep_plan import VICTIMS, StorePlan, plan
from killsweep_processes import SweepError
from killsweep_store import Programs, Struck, Sweep


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/killsweep", description=__doc__)
    parser.add_argument("--count", type=int, default=200, metavar="N", help="kills in all; default: %(default)s")
    parser.add_argument("--seed", type=int, help="default: another one each time")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="stores at once; default: cores")
    parser.add_argument("--store", type=int, metavar="K", help="only the store of that number")
    parser.add_argument("--dir", type=Path, help="where the stores are made; default: the temporary directory")
    parser.add_argument("--json", action="store_true", help="figures as JSON, on standard output alone")
    args = parser.parse_args()
    if args.count < 1 or args.jobs < 1:
        parser.error("--count and --jobs must be at least 1")
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(1_000_000)
    every = plan(args.count, args.seed)
    args.plans = [one for one in every if args.store in (None, one.number)]
    if not args.plans:
        numbers = ", ".join(str(one.number) for one in every)
        parser.error(f"--store: no store has the number {args.store}; with --count {args.count} there are {numbers}")
    return args


def find_programs() -> Programs:
    """Of the build that STILLFRAME_BUILD_DIR names."""
    build = os.environ.get("STILLFRAME_BUILD_DIR")
    if not build:
        raise SweepError("STILLFRAME_BUILD_DIR is not set; start scripts/killsweep, which builds and sets it")
    found: Dict[str, Path] = {}
    for name, folder in (("sweep_trainer", "tests"), ("stillframe", "src/apps"), ("stillframed", "src/apps")):
        found[name] = Path(build, folder, name)
        if not found[name].is_file():
            raise SweepError(f"{found[name]} is not there: build it first")
    environment = {**os.environ, "PATH": f"{found['stillframed'].parent}:{os.environ['PATH']}"}
    return Programs(str(found["sweep_trainer"]), str(found["stillframe"]), environment)


def sweep_one(one: StorePlan, folder: Path, programs: Programs) -> Tuple[List[Struck], Optional[str]]:
    signal.signal(signal.SIGTERM, stop_on_signal)
    sweep = Sweep(one, folder, programs)
    try:
        sweep.run()
    except (SweepError, subprocess.SubprocessError, OSError) as error:
        return sweep.struck, str(error)
    return sweep.struck, None


def sweep_all(args: argparse.Namespace, root: Path, plans: List[StorePlan],
              programs: Programs) -> Tuple[List[Struck], Dict[int, str]]:  # fmt: skip
    # Sockets and start locks of the sweep's own daemons lie apart from everybody else's.
    (root / "run").mkdir(mode=0o700)
    programs.environment["XDG_RUNTIME_DIR"] = str(root / "run")
    struck: List[Struck] = []
    failures: Dict[int, str] = {}
    with ProcessPoolExecutor(args.jobs) as pool:
        futures: Dict[Future[Tuple[List[Struck], Optional[str]]], StorePlan] = {
            pool.submit(sweep_one, one, root / str(one.number), programs): one for one in plans
        }
        for future in as_completed(futures):
            one = futures[future]
            kills, failure = future.result()
            struck += kills
            outcome = f"FAILED: {failure}" if failure else f"{len(kills)} kills, nothing lost"
            print(f"store {one.number} ({one.mode}, level {one.level}, every {one.snapshot_every}): {outcome}",
                  file=sys.stderr, flush=True)  # fmt: skip
            if failure:
                failures[one.number] = failure
                print(f"  kept in {root / str(one.number)}; again: scripts/killsweep --count {args.count} "
                      f"--seed {args.seed} --store {one.number}", file=sys.stderr, flush=True)  # fmt: skip
            else:
                shutil.rmtree(root / str(one.number))
    return struck, failures


def rows(struck: List[Struck]) -> List[Dict[str, object]]:
    found: List[Dict[str, object]] = []
    for point in POINTS:
        at = [one for one in struck if one.point == point]
        if at:
            found.append({
                "point": point,
                "kills": len(at),
                **{victim: sum(one.victim == victim for one in at) for victim in VICTIMS},
                "in_phase": sum(point in one.phases for one in at) if point != "random" else None,
                "at_last_durable": sum(one.resumed == one.durable for one in at),
                "newer": sum(one.resumed > one.durable for one in at),
                "lost": sum(one.resumed < one.durable for one in at),
            })  # fmt: skip
    return found


def print_table(found: List[Dict[str, object]]) -> None:
    headings = ["point", "kills", *VICTIMS, "in that phase", "resumed at the last durable", "at a newer one", "lost"]
    print(table(headings, [["-" if value is None else value for value in row.values()] for row in found]))


def stop_on_signal(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> int:
    args = parse_arguments()
    signal.signal(signal.SIGTERM, stop_on_signal)
    programs = find_programs()
    root = Path(tempfile.mkdtemp(prefix="stillframe-kills-", dir=args.dir))
    started = time.monotonic()
    struck, failures = sweep_all(args, root, args.plans, programs)
    seconds = time.monotonic() - started
    if not failures:
        shutil.rmtree(root)
    found = rows(struck)
    if args.json:
        print(json.dumps({"count": len(struck), "seed": args.seed, "jobs": args.jobs, "stores": len(args.plans),
                          "seconds": round(seconds, 1), "points": found, "failures": failures,
                          "kept_in": str(root) if failures else None,
                          "kills": [one._asdict() for one in struck]}))  # fmt: skip
    else:
        print_table(found)
        print(f"{len(struck)} kills in {len(args.plans)} stores, seed {args.seed}: {seconds:.1f} s, "
              f"{len(struck) / seconds:.1f} kills per second, {len(failures)} stores failed")  # fmt: skip
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SweepError as error:
        print(f"scripts/killsweep: {error}", file=sys.stderr)
        sys.exit(1)
