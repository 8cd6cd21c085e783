"""What scripts/gpu_check carries to a machine that has a GPU and nothing to build with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Dict, List, Optional

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "gpu_check"
BUNDLE = BUILD / "bundle"
PROGRAMS = ("gpu", "gpu_figures")  # the tests of the real driver, and the measurements


def prepare(bundle: Path) -> None:
    """Builds wheel and programs into `bundle`; what was there before goes."""
    shutil.rmtree(bundle, ignore_errors=True)
    bundle.mkdir(parents=True)
    options = ["-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DSTILLFRAME_BUNDLE=ON"]
    cores = str(os.cpu_count() or 1)
    _run(["cmake", "-S", str(ROOT), "-B", str(BUILD), *options])
    _run(["cmake", "--build", str(BUILD), "--parallel", cores, *[word for name in PROGRAMS for word in ("--target", name)]])
    _run(["cmake", "--install", str(BUILD), "--component", "gpu_check", "--prefix", str(bundle), "--strip"])
    python = ROOT / ".venv" / "bin" / "python"
    interpreter = str(python) if python.exists() else sys.executable
    _run([interpreter, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir",
          str(bundle), str(ROOT)])  # fmt: skip
    size = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
    print(f"{bundle}: {size / 1e6:.1f} MB; scripts/gpu_check wants it at build/gpu_check/bundle of a checkout, or --bundle")


def _run(command: List[str]) -> None:
    print("==", " ".join(command), flush=True)
    subprocess.run(command, check=True, stdout=sys.stderr)


class Bundle:
    """The prepared folder; its wheel is unpacked under `scratch` when it is first asked for."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self._folder, self._scratch = folder, scratch

    def program(self, name: str) -> Optional[Path]:
        found = self._folder / "bin" / name
        return found if found.is_file() else None

    def site(self) -> Path:
        """A folder for PYTHONPATH: the package as the wheel brings it."""
        site = self._scratch / "site"
        if not site.exists():
            (wheel,) = self._folder.glob("stillframe-*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
            for program in (site / "stillframe" / "bin").iterdir():
                program.chmod(0o755)
        return site

    def environment(self) -> Dict[str, str]:
        """Library, daemon and package are the wheel's, whatever else this machine has."""
        site = self.site()
        others = {name: value for name, value in os.environ.items() if not name.startswith("STILLFRAME_")}
        return {**others, "PYTHONPATH": str(site), "PATH": f"{site / 'stillframe' / 'bin'}:{os.environ['PATH']}"}
