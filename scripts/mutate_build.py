"""A copy of the sources with a build of its own, in which one mutation at a time is applied and undone."""

import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import subprocess
import sys
from typing import Iterable, Iterator, Optional

from mutate_list import Mutation

ROOT = pathlib.Path(__file__).resolve().parents[1]
PLACE = ROOT / "build" / "mutate"
# All that stands in the checkout is copied but this: a folder that the build comes to need is there without being named.
NOT_COPIED = {"build", "dist", "python", "runs", "scripts"}
# How each program of the tests is run: to its first failure.
ARGUMENTS = {"crash": ["--quick"]}
GTEST = ["--gtest_fail_fast=1", "--gtest_brief=1"]
# A mutation may make a test wait for ever; that is red as well.
PROGRAM_SECONDS = 180


class MutationBuild:
    def __init__(self) -> None:
        self.source = PLACE / "source"
        self.build = PLACE / "build"
        PLACE.mkdir(parents=True, exist_ok=True)
        self.lock = (PLACE / "lock").open("w")

    def __enter__(self) -> "MutationBuild":
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"mutate: another run works in {PLACE}; wait for it to end")
        self.refresh()
        self.configure()
        return self

    def __exit__(self, *error: object) -> None:
        self.lock.close()

    def refresh(self) -> None:
        """Makes the copy equal to the checkout; what is equal already keeps its time, and with it its object files."""
        wanted = set()
        for start in ROOT.iterdir():
            if start.name in NOT_COPIED or start.name.startswith("."):
                continue
            files = [start] if start.is_file() else [file for file in start.rglob("*") if file.is_file()]
            for file in files:
                if "__pycache__" in file.parts:
                    continue
                copy = self.source / file.relative_to(ROOT)
                wanted.add(copy)
                if not copy.is_file() or copy.read_bytes() != file.read_bytes():
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, copy)
        for copy in self.source.rglob("*"):
            if copy.is_file() and copy not in wanted:
                copy.unlink()

    def configure(self) -> None:
        command = ["cmake", "-S", self.source, "-B", self.build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug"]
        # Without warnings: a mutation may leave a variable unused, and only the tests are to judge it.
        command += ["-DCMAKE_CXX_FLAGS_DEBUG=-O1 -w"]
        if shutil.which("ccache"):
            command.append("-DCMAKE_CXX_COMPILER_LAUNCHER=ccache")
        done = self.run(command)
        if done.returncode != 0:
            sys.exit(f"{done.stdout}mutate: the copy of the sources could not be configured")

    def run(self, command: Iterable[object], seconds: Optional[float] = None) -> "subprocess.CompletedProcess[str]":
        # So that the compiler cache knows the files of one checkout again in another.
        environment = {**os.environ, "CCACHE_BASEDIR": str(self.source), "CCACHE_NOHASHDIR": "1"}
        return subprocess.run(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
            env=environment,
        )

    @contextlib.contextmanager
    def applied(self, mutation: Mutation) -> Iterator[None]:
        file = self.source / mutation.file
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(mutation.before, mutation.after), encoding="utf-8")
        try:
            yield
        finally:
            file.write_text(text, encoding="utf-8")

    def make(self, programs: Iterable[str]) -> str:
        """Empty, or the first line of what the compiler said."""
        targets = sorted({program.split()[0] for program in programs})
        done = self.run(["cmake", "--build", self.build, "--parallel", os.cpu_count(), "--target", *targets])
        if done.returncode == 0:
            return ""
        errors = [line for line in done.stdout.splitlines() if re.search(r"\berror\b|undefined reference", line)]
        return errors[0] if errors else "the build failed: " + done.stdout[-400:]

    def failure_of(self, program: str) -> Optional[str]:
        """None when the program is green, else the name of what failed first."""
        name, *tests = program.split()
        command = [self.build / "tests" / name, *ARGUMENTS.get(name, GTEST), *(f"--gtest_filter={one}" for one in tests)]
        try:
            done = self.run(command, PROGRAM_SECONDS)
        except subprocess.TimeoutExpired:
            return f"still running after {PROGRAM_SECONDS} s"
        if done.returncode == 0:
            return None
        failed = re.search(r"^\[  FAILED  \] ([\w./]+)|^LOST ([\w-]+)", done.stdout, re.MULTILINE)
        if failed:
            return failed.group(1) or failed.group(2)
        return f"exit code {done.returncode}" if done.returncode > 0 else f"died by signal {-done.returncode}"

    def prove_green(self, programs: Iterable[str]) -> None:
        complaint = self.make(programs)
        if complaint:
            sys.exit(f"mutate: the unchanged sources do not build: {complaint}")
        for program in programs:
            # Twice, because a wait of a test may run out on a machine that is busy with other things.
            failure = self.failure_of(program) and self.failure_of(program)
            if failure:
                sys.exit(f"mutate: the unchanged sources are not green: {program}: {failure}; mend that first")
