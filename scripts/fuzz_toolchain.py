"""A clang++ that links libFuzzer: the one that is there, or the one of the distribution, installed by name."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SYSTEM = pathlib.Path("/etc/os-release")
PROBE = '#include <cstddef>\n#include <cstdint>\nextern "C" int LLVMFuzzerTestOneInput(const uint8_t*, size_t) { return 0; }\n'
ADVICE = """fuzz: fuzzing needs clang++ with compiler-rt (libFuzzer and the sanitizers), and {why}.
  On Debian and Ubuntu: apt-get install {packages}
  Elsewhere: install clang, llvm and compiler-rt. Nothing was built or run."""


def candidates():
    """Every clang++ on PATH, the newest version first."""
    found = {}
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        for file in pathlib.Path(folder).glob("clang++*") if folder else []:
            match = re.fullmatch(r"clang\+\+(?:-(\d+))?", file.name)
            if match and os.access(file, os.X_OK):
                found.setdefault(file.name, (int(match.group(1) or 1000), str(file)))
    return [path for _, path in sorted(found.values(), reverse=True)]


def links_fuzzer(compiler):
    with tempfile.TemporaryDirectory(prefix="stillframe-fuzz-") as folder:
        source = pathlib.Path(folder) / "probe.cpp"
        source.write_text(PROBE)
        command = [compiler, "-fsanitize=fuzzer,address,undefined", str(source), "-o", str(source.with_suffix(""))]
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def missing_packages():
    """Names of the distribution's packages, for the clang that is there when there is one without its runtime."""
    for compiler in candidates():
        version = re.search(r"version (\d+)\.", subprocess.run([compiler, "--version"], stdout=subprocess.PIPE, text=True).stdout)
        if version:
            return [f"clang-{version.group(1)}", f"libclang-rt-{version.group(1)}-dev", f"llvm-{version.group(1)}"]
    return ["clang", "libclang-rt-dev", "llvm"]


def install(packages):
    command = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages]
    if os.geteuid() != 0:
        if shutil.which("sudo") is None:
            sys.exit(ADVICE.format(why="this user can install nothing (no sudo)", packages=" ".join(packages)))
        command = ["sudo", *command]
    print("fuzz: installing", *packages, flush=True)
    if subprocess.run(command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}).returncode != 0:
        sys.exit(ADVICE.format(why="apt-get could not install it", packages=" ".join(packages)))


def fuzzing_compiler():
    """The path of a clang++ that links libFuzzer; ends the program with advice where there is none to be had."""
    for compiler in candidates():
        if links_fuzzer(compiler):
            return compiler
    packages = missing_packages()
    system = SYSTEM.read_text() if SYSTEM.is_file() else ""
    if not re.search(r'^ID(_LIKE)?="?.*(debian|ubuntu)', system, re.MULTILINE) or shutil.which("apt-get") is None:
        sys.exit(ADVICE.format(why="none is installed", packages=" ".join(packages)))
    install(packages)
    for compiler in candidates():
        if links_fuzzer(compiler):
            return compiler
    sys.exit(ADVICE.format(why="the installed one links no libFuzzer", packages=" ".join(packages)))


def compiler_launcher():
    return ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
