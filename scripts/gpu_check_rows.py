"""The measurements of scripts/gpu_check, and the rows of docs/measurements.md that they make."""

from __future__ import annotations

import datetime
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Sequence

from gpu_check_bundle import ROOT
from gpu_check_machine import Machine

BEGIN, END = "<!-- gpu rows: begin -->", "<!-- gpu rows: end -->"
SMALL_TENSORS = 10_000
TURNS_A_ROUND = 3
TIMEOUT_SECONDS = 900.0
GPU_TESTS = ROOT / "tests" / "gpu"


class Failed(Exception):
    """A measurement ended with an error."""


@dataclass(frozen=True)
class Sizes:
    megabytes: int
    rounds: int


@dataclass(frozen=True)
class Row:
    what: str
    measured: str
    goal: str = ""
    reached: str = ""  # yes, no, or empty where there is no goal
    passed: bool = True  # False: a test failed, which is more than a goal that is missed


def run(command: Sequence[str], machine: Machine) -> "subprocess.CompletedProcess[str]":
    print("==", " ".join(command), flush=True)
    return subprocess.run(command, env=machine.bundle.environment(), stdout=subprocess.PIPE, text=True,
                          timeout=TIMEOUT_SECONDS, check=False)  # fmt: skip


def figures(machine: Machine, *words: str) -> Dict[str, Any]:
    program = machine.bundle.program("gpu_figures")
    done = run([str(program), *words, "--device", str(machine.device)], machine)
    if done.returncode != 0:
        raise Failed(f"gpu_figures {' '.join(words)} ended with exit code {done.returncode}; its words stand above")
    found: Dict[str, Any] = json.loads(done.stdout)
    return found


def measure_all(machine: Machine, sizes: Sizes, scratch: Path) -> List[Row]:
    rows = driver_tests(machine, scratch) + torch_tests(machine, scratch)
    size = ["--megabytes", str(sizes.megabytes), "--rounds", str(sizes.rounds)]
    rows += ceiling_rows(figures(machine, "ceilings", *size))
    for name, tensors in (("large", 4), ("small", SMALL_TENSORS)):
        store = str(scratch / name)
        rows.append(copies_row(figures(machine, "copies", *size, "--tensors", str(tensors), "--store", store)))
    # One step without and one with a snapshot, then a rest until it is verified: no disk keeps up with every step of a GPU.
    turns = ["--megabytes", str(sizes.megabytes), "--rounds", str(TURNS_A_ROUND * sizes.rounds), "--steps", "1"]
    rows.append(stall_row(figures(machine, "steps", *turns, "--tensors", "8", "--store", str(scratch / "steps"))))
    return rows + peer_rows(machine, scratch)


def driver_tests(machine: Machine, scratch: Path) -> List[Row]:
    """The programs of ctest -L gpu."""
    program, report = machine.bundle.program("gpu"), scratch / "gpu.json"
    if program is None:
        return []
    done = run([str(program), f"--gtest_output=json:{report}"], machine)
    print(done.stdout)
    return [driver_tests_row(json.loads(report.read_text()))]


def driver_tests_row(report: Dict[str, Any]) -> Row:
    tests = [test for suite in report["testsuites"] for test in suite["testsuite"]]
    failed = sum("failures" in test for test in tests)
    skipped = sum(test["result"] == "SKIPPED" for test in tests)
    passed = len(tests) - failed - skipped
    return Row("tests of the device's contract on the real driver", f"{passed} passed, {failed} failed, {skipped} skipped",
               "all pass", "yes" if passed and not failed and not skipped else "no", failed == 0 and passed > 0)  # fmt: skip


def torch_tests(machine: Machine, scratch: Path) -> List[Row]:
    """tests/gpu with real torch."""
    if not list(GPU_TESTS.glob("*_test.py")):
        return []
    if not machine.torch_sees_gpu:
        print(f"tests/gpu in Python: NOT RUN: torch {machine.torch or 'is not there'}, and sees no GPU")
        return []
    if machine.pytest is None:
        print(f"tests/gpu in Python: NOT RUN: no pytest beside torch {machine.torch} ({sys.executable} -m pip install pytest)")
        return []
    report = scratch / "pytest.txt"
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "python_files=*_test.py",
               str(GPU_TESTS)]  # fmt: skip
    done = run(command, machine)
    report.write_text(done.stdout)
    print(done.stdout)
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else f"no words, exit code {done.returncode}"
    return [Row("tests/gpu with torch", last, "all pass", "yes" if done.returncode == 0 else "no", done.returncode == 0)]


def gigabytes(values: Sequence[float]) -> str:
    return f"{statistics.median(values) / 1e9:.2f} GB/s (best {max(values) / 1e9:.2f})"


def ceiling_rows(found: Dict[str, Any]) -> List[Row]:
    size = f"pinned, {found['bytes'] / 2**20:.0f} MiB"
    return [
        Row(f"D2H ceiling, {size}", gigabytes(found["to_host_bytes_per_s"])),
        Row(f"H2D ceiling, {size}", gigabytes(found["to_device_bytes_per_s"])),
        Row(f"D2D ceiling, {found['bytes'] / 2**20:.0f} MiB, each byte counted once", gigabytes(found["on_device_bytes_per_s"])),
    ]


def copies_row(found: Dict[str, Any]) -> Row:
    goal = 0.90 if found["tensors"] >= SMALL_TENSORS else 0.97
    share = statistics.median(found["snapshot_bytes_per_s"]) / statistics.median(found["to_host_bytes_per_s"])
    return Row(
        f"D2H of a snapshot, call to captured, {found['tensors']:,} tensors, {found['bytes'] / 2**20:.0f} MiB",
        f"{share:.1%} of a pinned copy in the same run: {gigabytes(found['snapshot_bytes_per_s'])}",
        f">= {goal:.0%}", "yes" if share >= goal else "no",
    )  # fmt: skip


def stall_row(found: Dict[str, Any]) -> Row:
    longer = statistics.median(found["with_snapshot_seconds"]) - statistics.median(found["plain_seconds"])
    block = sorted(found["block_seconds"])
    stall = max(longer, statistics.median(block))
    return Row(
        f"stall, the copy ({found['copy_seconds'] * 1e3:.1f} ms) inside forward and backward, a snapshot every other step",
        f"{stall * 1e3:.3f} ms: host time of call and fence {statistics.median(block) * 1e3:.3f} ms (p99 "
        f"{block[min(len(block) - 1, int(len(block) * 0.99))] * 1e3:.3f}), a step {longer * 1e3:+.3f} ms; "
        f"{found['skipped']} of {found['skipped'] + len(block)} skipped",
        "<= 1 ms", "yes" if stall <= 1e-3 else "no",
    )  # fmt: skip


def peer_rows(machine: Machine, scratch: Path) -> List[Row]:
    """bench/compare with a state on the GPU."""
    if not machine.torch_sees_gpu:
        print(f"block time against torch.save and async_save: NOT MEASURED: torch {machine.torch or 'is not there'}, sees no GPU")
        return []
    command = [sys.executable, str(ROOT / "bench" / "compare"), "torch-save", "async-save", "--device", f"cuda:{machine.device}",
               "--json", "-", "--dir", str(scratch), "--largest-load", "inf"]  # fmt: skip
    command += ["--staging", "none", "pinned+shared+background+non_blocking"]
    done = run(command, machine)
    if done.returncode != 0:
        raise Failed(f"bench/compare ended with exit code {done.returncode}; its words stand above")
    rows = []
    for measured in json.loads(done.stdout)["measurements"]:
        for row in measured["rows"]:
            words = f"{row['measured']}; {row['against']}" if row["against"] else row["measured"]
            rows.append(Row(row["what"], words, row["goal"], "yes" if row["reached"] else "no"))
    return rows


def table_lines(machine: Machine, rows: Sequence[Row]) -> List[str]:
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    lines = []
    for row in rows:
        cells = (date, machine.gpu, machine.driver, machine.torch or "none", row.what, row.measured, row.goal, row.reached)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def write_rows(page: Path, lines: Sequence[str]) -> None:
    """Behind those that stand between the marks."""
    before, rest = page.read_text(encoding="utf-8").split(END)
    if BEGIN not in before:
        raise SystemExit(f"gpu_check: {page} lacks the mark {BEGIN}")
    page.write_text(before + "".join(line + "\n" for line in lines) + END + rest, encoding="utf-8")
