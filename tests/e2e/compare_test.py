"""bench/compare gives a row for every goal, with its peers beside it. Its figures are nobody's here: no speed is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest
from faults_rig import ROOT, environment

SECONDS = 240.0
SMALL = ["--megabytes", "3", "--rounds", "1", "--turns", "1", "--calls", "20", "--largest-load", "inf"]


def compare(folder: Path, *words: str, hidden: str = "") -> "subprocess.CompletedProcess[str]":
    runtime = folder / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    variables = {name: value for name, value in environment(runtime).items() if name != hidden}
    command = [sys.executable, "-B", str(ROOT / "bench" / "compare"), *words, "--dir", str(folder)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=SECONDS, check=False)


def measurements(folder: Path, *words: str, hidden: str = "") -> List[Dict[str, Any]]:
    done = compare(folder, *words, *SMALL, "--json", "-", hidden=hidden)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"torch", "cpus", "load", "date"} <= set(found["environment"])
    measured: List[Dict[str, Any]] = found["measurements"]
    assert all("load_before" in one for one in measured)
    return measured


def test_each_row_has_its_goal_its_figure_and_what_it_is_compared_with(tmp_path: Path) -> None:
    saved, asynchronous = measurements(tmp_path, "torch-save", "async-save", "--staging", "shared+background")
    (row,) = saved["rows"]
    assert "torch.save" in row["what"] and "500" in row["goal"] and "x less" in row["measured"] and "torch.save" in row["against"]
    assert row["reached"] in (True, False)
    assert len(saved["raw"]["rounds"]) == 1 and saved["raw"]["state_bytes"] > 2_000_000
    assert [row["goal"] for row in asynchronous["rows"]] == [">= 20 x less", "no wait for a previous write"]
    assert "waited" in asynchronous["rows"][1]["against"]
    assert list(asynchronous["raw"]) == ["shared+background"]
    assert list(tmp_path.glob("compare-*")) == []


def test_a_restore_from_memory_is_measured_beside_copying_and_hashing_as_much(tmp_path: Path) -> None:
    (hot,) = measurements(tmp_path, "hot-restore")
    assert [row["goal"] for row in hot["rows"]] == [
        "<= 5 ms after the call, in a started process",
        ">= 90 % of memcpy + hash into memory in use",
        ">= 90 % of memcpy + hash into memory as new as the restore's",
    ]
    (figures,) = hot["raw"]["rounds"]
    assert all(figures[name] > 0 for name in ("first_tensor_seconds", "restore_seconds", "copy_seconds"))
    assert figures["hash_and_copy_seconds"] > 0 and figures["hash_and_copy_anew_seconds"] > 0
    assert figures["first_tensor_bytes"] > 4096


def test_a_copy_in_the_call_is_measured_with_one_thread_and_with_two(tmp_path: Path) -> None:
    (call,) = measurements(tmp_path, "in-the-call")
    assert [row["goal"] for row in call["rows"]] == [">= 8 x less", ">= 12 x less"]
    assert ["copy_threads=1" in row["what"] for row in call["rows"]] == [True, False]
    assert len(call["raw"]["rounds"]) == 1 and len(call["raw"]["rounds"][0]) == len(call["raw"]["seconds"])


def test_a_program_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    (fake,) = measurements(tmp_path, "step-fake", hidden="STILLFRAME_BUILD_DIR")
    assert fake["rows"] == [] and "STILLFRAME_BUILD_DIR" in fake["missing"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["no-such-row"], "no-such-row"),
        (["call", "--record", "../elsewhere"], "--record"),
        (["call", "--largest-load", "-1"], "load"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_the_reason(words: List[str], complaint: str, tmp_path: Path) -> None:
    done = compare(tmp_path, *words)
    assert done.returncode == 2 and complaint in done.stderr and done.stdout == ""


def test_pinned_staging_wants_a_gpu(tmp_path: Path) -> None:
    if any(Path("/dev").glob("nvidia[0-9]*")) or "CUDA_VISIBLE_DEVICES" in os.environ:
        pytest.skip("this machine may have a GPU")
    done = compare(tmp_path, "async-save", "--staging", "pinned+shared")
    assert done.returncode == 2 and "GPU" in done.stderr
