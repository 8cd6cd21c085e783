"""scripts/gpu_check where there is no GPU: what it says, and the rows that its measurements make, on the driver fake."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Dict, List

import pytest
from faults_rig import ROOT, environment

sys.path.insert(0, str(ROOT / "scripts"))

from gpu_check_bundle import Bundle  # noqa: E402
from gpu_check_machine import Machine, cuda_name, driver_of_listing, pytest_version, torch_facts  # noqa: E402
from gpu_check_rows import BEGIN, END, Row, driver_tests_row, table_lines, torch_tests, write_rows  # noqa: E402

PAGE = ROOT / "docs" / "measurements.md"
NOT_PREPARED, NO_GPU = 2, 77
SECONDS = 120.0


def build_folder() -> Path:
    build = os.environ.get("STILLFRAME_BUILD_DIR")
    if not build:
        pytest.fail("STILLFRAME_BUILD_DIR is not set: it names the build directory (scripts/test sets it)")
    return Path(build)


def on_the_fake(folder: Path) -> Dict[str, str]:
    (folder / "run").mkdir(mode=0o700, exist_ok=True)
    fake = build_folder() / "tests" / "fake_cuda"
    quick = {"FAKE_CUDA_RACES": "count", "FAKE_CUDA_DTOD_BYTES_PER_S": "2000000000", "FAKE_CUDA_DTOH_BYTES_PER_S": "4000000000"}
    return {**environment(folder / "run"), **quick, "LD_LIBRARY_PATH": str(fake)}


def without_a_gpu() -> Dict[str, str]:
    if any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("this machine has a GPU")
    return {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}


def gpu_figures(folder: Path, *words: str) -> Dict[str, object]:
    done = subprocess.run([str(build_folder() / "bench" / "gpu_figures"), *words], env=on_the_fake(folder), capture_output=True,
                          text=True, timeout=SECONDS, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: Dict[str, object] = json.loads(done.stdout)
    return found


def gpu_check(page: Path, environment: Dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-B", str(ROOT / "scripts" / "gpu_check"), "--page", str(page), "--dir", str(page.parent), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return Path(shutil.copy(PAGE, tmp_path / "page.md"))


def rows_of(page: Path) -> List[List[str]]:
    between = page.read_text().split(BEGIN)[1].split(END)[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in between.splitlines() if line]


# ---- no GPU


def test_without_a_gpu_it_says_so_and_writes_nothing(page: Path) -> None:
    done = gpu_check(page, without_a_gpu())
    assert done.returncode == NO_GPU and "no GPU" in done.stderr and "nothing was written" in done.stderr
    assert done.stdout == "" and page.read_bytes() == PAGE.read_bytes()


def test_the_measuring_program_says_so_as_well() -> None:
    done = subprocess.run([str(build_folder() / "bench" / "gpu_figures"), "facts"], env=without_a_gpu(), capture_output=True,
                          text=True, timeout=SECONDS, check=False)  # fmt: skip
    assert done.returncode == NO_GPU and done.stdout == "" and "libcuda.so.1" in done.stderr


def test_with_a_driver_and_nothing_prepared_it_says_what_to_do(page: Path, tmp_path: Path) -> None:
    done = gpu_check(page, on_the_fake(tmp_path), "--bundle", str(tmp_path / "none"))
    assert done.returncode == NOT_PREPARED and "--prepare" in done.stderr
    assert page.read_bytes() == PAGE.read_bytes()


# ---- on the fake


def test_ceilings_are_measured_in_all_directions(tmp_path: Path) -> None:
    found = gpu_figures(tmp_path, "ceilings", "--megabytes", "4", "--rounds", "3")
    assert found["bytes"] == 4 << 20 and found["gpu"] and found["cuda_version"] == 13000
    for name in ("to_host", "to_device", "on_device"):
        values = found[f"{name}_bytes_per_s"]
        assert isinstance(values, list) and len(values) == 3 and min(values) > 0


def test_steps_with_and_without_a_snapshot_are_measured_in_turns(tmp_path: Path) -> None:
    found = gpu_figures(tmp_path, "steps", "--store", str(tmp_path / "store"), "--megabytes", "4", "--tensors", "5", "--rounds", "2",
                        "--steps", "3", "--work-kilobytes", "1024")  # fmt: skip
    plain, snapped = found["plain_seconds"], found["with_snapshot_seconds"]
    assert isinstance(plain, list) and isinstance(snapped, list)
    assert len(plain) == 6 and len(snapped) + int(str(found["skipped"])) == 6 and min(*plain, *snapped) > 0


def test_the_whole_run_adds_a_row_for_everything_that_has_a_result(page: Path, tmp_path: Path) -> None:
    """With the programs of this build and a package of this checkout in the place of a bundle."""
    pytest.importorskip("stillframe")
    bundle = tmp_path / "bundle"
    (bundle / "bin").mkdir(parents=True)
    (bundle / "bin" / "gpu_figures").symlink_to(build_folder() / "bench" / "gpu_figures")
    package(bundle)
    done = gpu_check(page, on_the_fake(tmp_path), "--bundle", str(bundle), "--megabytes", "8", "--rounds", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = rows_of(page)
    beginnings = ["D2H ceiling", "H2D ceiling", "D2D ceiling", "D2H of a snapshot, call to captured, 4 tensors",
                  "D2H of a snapshot, call to captured, 10,000 tensors", "stall"]  # fmt: skip
    assert len(rows) == len(beginnings)
    for row, beginning in zip(rows, beginnings):
        assert len(row) == 8 and row[4].startswith(beginning) and row[5] and "CUDA 13.0" in row[2]
        assert (row[6] == "") == ("ceiling" in row[4]) and (row[7] in ("yes", "no")) == (row[6] != "")
    again = gpu_check(page, on_the_fake(tmp_path), "--bundle", str(bundle), "--megabytes", "8", "--rounds", "2")
    assert again.returncode == 0 and rows_of(page)[: len(rows)] == rows and len(rows_of(page)) == 2 * len(rows)


def package(bundle: Path) -> None:
    """What stands in the wheel's place: its folders, with the daemon of this build."""
    with zipfile.ZipFile(bundle / "stillframe-0-py3-none-any.whl", "w") as archive:
        for name in ("stillframed", "stillframe"):
            archive.write(build_folder() / "src" / "apps" / name, f"stillframe/bin/{name}")


# ---- facts and rows


@pytest.mark.parametrize(
    ("listing", "device", "version"),
    [
        ("0, 570.86.15\n1, 570.86.15\n", 1, "570.86.15"),
        ("1, 535.1\n", 0, None),
        ("", 0, None),
        ("0, [N/A]\n", 0, None),
        ("Failed to initialize NVML: Driver/library version mismatch\n", 0, None),
    ],
)
def test_the_driver_is_read_from_the_listing(listing: str, device: int, version: str) -> None:
    assert driver_of_listing(listing, device) == version


def test_versions_are_said_as_people_know_them() -> None:
    assert (cuda_name(12080), cuda_name(13000)) == ("CUDA 12.8", "CUDA 13.0")
    assert torch_facts("2.13.0+cu130 True\n") == ("2.13.0+cu130", True)
    assert torch_facts("2.13.0+cpu False\n") == ("2.13.0+cpu", False)
    assert torch_facts("") == (None, False)


def without(module: str, folder: Path) -> Dict[str, str]:
    """An environment in which no Python has that module."""
    (folder / f"{module}.py").write_text("raise ImportError('hidden')\n")
    return {**os.environ, "PYTHONPATH": str(folder)}


def test_without_pytest_the_tests_with_torch_are_not_run_and_that_is_said(
    tmp_path: Path, capfd: "pytest.CaptureFixture[str]"
) -> None:
    assert pytest_version(dict(os.environ)) == pytest.__version__
    hidden = pytest_version(without("pytest", tmp_path))
    machine = Machine("A GPU", "570.1, CUDA 12.8", "2.13.0", True, hidden, 0, Bundle(tmp_path, tmp_path))
    assert torch_tests(machine, tmp_path) == []
    assert "NOT RUN: no pytest" in capfd.readouterr().out


def test_the_help_says_that_pytest_is_looked_for() -> None:
    done = subprocess.run([sys.executable, "-B", str(ROOT / "scripts" / "gpu_check"), "--help"], capture_output=True, text=True,
                          timeout=SECONDS, check=False)  # fmt: skip
    assert done.returncode == 0 and "torch and pytest" in done.stdout


@pytest.mark.parametrize(
    ("results", "words", "reached", "passed"),
    [
        (["COMPLETED", "COMPLETED"], "2 passed, 0 failed, 0 skipped", "yes", True),
        (["COMPLETED", "SKIPPED"], "1 passed, 0 failed, 1 skipped", "no", True),
        (["COMPLETED", "FAILED"], "1 passed, 1 failed, 0 skipped", "no", False),
        (["SKIPPED"], "0 passed, 0 failed, 1 skipped", "no", False),
    ],
)
def test_a_report_of_tests_becomes_a_row(results: List[str], words: str, reached: str, passed: bool) -> None:
    tests = [{"result": result} if result != "FAILED" else {"result": "COMPLETED", "failures": [{}]} for result in results]
    row = driver_tests_row({"testsuites": [{"testsuite": tests}]})
    assert (row.measured, row.reached, row.passed) == (words, reached, passed)


def test_rows_stand_behind_those_of_earlier_runs(page: Path, tmp_path: Path) -> None:
    machine = Machine("A GPU", "570.1, CUDA 12.8", None, False, None, 0, Bundle(tmp_path, tmp_path))
    for what in ("first", "second | with a bar"):
        write_rows(page, table_lines(machine, [Row(what, "1 ms", "<= 2 ms", "yes")]))
    rows = rows_of(page)
    assert [row[4] for row in rows] == ["first", "second \\| with a bar"]
    assert rows[0][1:4] == ["A GPU", "570.1, CUDA 12.8", "none"] and rows[0][5:] == ["1 ms", "<= 2 ms", "yes"]
    assert page.read_text().replace("".join("| " + " | ".join(row) + " |\n" for row in rows), "") == PAGE.read_text()
