"""The wheel carries library, daemon and command line for any Python 3, and works where it is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Dict, List

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD_SECONDS = 900
GLIBC = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


def plain_environment() -> Dict[str, str]:
    """Without what points at the checkout: only what the wheel brings may be found."""
    hidden = ("STILLFRAME_", "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("scikit_build_core", reason="scripts/setup installs it")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    built = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(ROOT)],
        env=plain_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert built.returncode == 0, built.stdout
    wheels = list(folder.glob("*.whl"))
    assert len(wheels) == 1, wheels
    return wheels[0]


def file_names(wheel: Path) -> List[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_one_wheel_fits_every_python_3(wheel: Path) -> None:
    assert "-py3-none-" in wheel.name


@pytest.mark.parametrize("name", ["libstillframe.so", "stillframed", "stillframe", "py.typed"])
def test_it_carries_what_a_user_needs(wheel: Path, name: str) -> None:
    assert [entry for entry in file_names(wheel) if entry.rsplit("/", 1)[-1] == name], f"no {name} in {wheel.name}"


def test_it_carries_nothing_of_the_build(wheel: Path) -> None:
    surplus = (".a", ".o", ".cpp", ".pyc", "CMakeCache.txt")
    assert [entry for entry in file_names(wheel) if entry.endswith(surplus)] == []


def test_it_carries_every_library_but_those_of_the_c_library(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    carried = {path.name for path in tmp_path.glob("stillframe/lib/*")}
    binaries = [path for path in tmp_path.glob("stillframe/*/*") if path.read_bytes()[:4] == b"\x7fELF"]
    assert {path.name for path in binaries} >= {"libstillframe.so", "stillframed", "stillframe"}
    for binary in binaries:
        headers = subprocess.run(["readelf", "--dynamic", str(binary)], capture_output=True, text=True, check=True).stdout
        wanted = set(re.findall(r"\(NEEDED\).*\[(.+)\]", headers))
        assert wanted - carried <= GLIBC, binary.name
        assert not [name for name in wanted & carried if name.startswith("lib") and name != "libstillframe.so"], (
            "by a name that all know, the loader takes what the process has already"
        )
        if wanted & carried:
            assert "$ORIGIN" in headers, f"{binary.name} does not look beside itself"


def test_installed_it_imports_and_its_commands_run(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    binaries = tmp_path / "venv/bin"
    environment = {**plain_environment(), "PATH": f"{binaries}:{os.environ['PATH']}"}

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    pip = (sys.executable, "-m", "pip", "--python", str(binaries / "python"), "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    # torch comes from this environment; stillframe may come from the wheel alone.
    here = Path(pytest.importorskip("torch").__file__).parents[1]
    program = f"import sys; sys.path.append({str(here)!r}); import stillframe; print(stillframe.__file__)"
    assert str(tmp_path) in run(str(binaries / "python"), "-c", program)
    version = run(str(binaries / "stillframe"), "--version")
    assert version.strip().split()[-1] in wheel.name
    assert run(str(binaries / "stillframed"), "--version")
