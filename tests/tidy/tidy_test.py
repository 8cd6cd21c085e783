"""Fails when a source breaks a rule of the house: `python3 -B tests/tidy/tidy_test.py [--self-test | --root DIR]`.

Rules: include-edge, file-door, thread-door, clock-door, socket-door, gpu-door, sleep-in-test, file-length,
unfinished-word, white-space, pragma-once. A finding is one line: file:line: [rule] what. Before it looks at the tree it checks that each
rule bites (self_test.py); --self-test does only that.
"""

import argparse
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from doors import DOORS  # noqa: E402
from layers import Layers, check_layer_source, check_public_header  # noqa: E402
from source_text import line_of, strip_cpp, strip_python, strip_shell  # noqa: E402

LARGEST_FILE_LINES = 400
CPP = {".cpp", ".hpp", ".h", ".cu"}
FOLDERS = "include src cuda python tests bench examples scripts cmake docker configs .ci".split()
ROOT_FILES = "CMakeLists.txt CMakePresets.json pyproject.toml .clang-format .clang-tidy".split()
SKIPPED_FOLDERS = {"build", "dist", "runs", "__pycache__", "node_modules"}
# Spelled apart, so that this file does not find itself.
UNFINISHED = re.compile(r"\b(%s)\b" % "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")))
SLEEPS = {
    "cpp": re.compile(r"\b(?:sleep_for|sleep_until|usleep|nanosleep|clock_nanosleep)\b|(?<![\w.>])sleep\s*\("),
    "python": re.compile(r"\b(?:time|asyncio)\s*\.\s*sleep\b|\bimport\s+sleep\b|(?<![\w.])sleep\s*\("),
    "shell": re.compile(r"(?:^|[;&|]|\bdo\b|\bthen\b)\s*sleep\s", re.MULTILINE),
}
SLEEP_ALLOWED = re.compile(r"tidy: allow-sleep \S+")


def sources(root):
    """Every text file of the project that the rules are about, as a path relative to `root`."""
    for name in ROOT_FILES:
        if (root / name).is_file():
            yield pathlib.PurePosixPath(name)
    waiting = [root / name for name in FOLDERS if (root / name).is_dir()]
    while waiting:
        for entry in sorted(waiting.pop().iterdir()):
            if entry.is_symlink():
                continue
            if entry.is_dir():
                hidden = entry.name.startswith(".") or entry.name.endswith(".egg-info")
                if entry.name not in SKIPPED_FOLDERS and not hidden:
                    waiting.append(entry)
            elif language_of(entry) or entry.suffix in (".txt", ".cmake", ".toml", ".json"):
                yield pathlib.PurePosixPath(entry.relative_to(root).as_posix())


def language_of(path):
    if path.suffix in CPP:
        return "cpp"
    if path.suffix in (".py", ".pyi"):
        return "python"
    if path.suffix in (".sh", ".bash"):
        return "shell"
    if path.suffix == "" and path.is_file():
        with path.open("rb") as file:
            first = file.readline(120)
        if first.startswith(b"#!"):
            return "python" if b"python" in first else "shell"
    return None


def check_lines(path, text, language):
    lines = text.split("\n")
    count = len(lines) - (lines[-1] == "")
    if language and count > LARGEST_FILE_LINES:
        message = f"{count} lines; the limit is {LARGEST_FILE_LINES}: split it by what it does"
        yield LARGEST_FILE_LINES + 1, "file-length", message
    for number, line in enumerate(lines, 1):
        word = UNFINISHED.search(line)
        if word:
            yield number, "unfinished-word", f"{word.group()}: finish it, or open an issue"
        if "\t" in line:
            yield number, "white-space", "a tab"
        if line != line.rstrip():
            yield number, "white-space", "white space at the end of the line"
    if path.suffix in (".hpp", ".h") and path.name != "stillframe.h" and not re.search(r"(?m)^#pragma once$", text):
        yield 1, "pragma-once", "a header without #pragma once"


def check_sleeps(text, code, language):
    lines = text.split("\n")
    for match in SLEEPS[language].finditer(code):
        number = line_of(code, match.end() - 1)
        if not SLEEP_ALLOWED.search(lines[number - 1]):
            yield number, "sleep-in-test", "wait for the event, or write why on this line: tidy: allow-sleep <reason>"


def check_file(root, path, layers):
    text = (root / path).read_text(encoding="utf-8", errors="replace")
    language = language_of(root / path)
    yield from check_lines(path, text, language)
    if language is None:
        return
    code = {"cpp": strip_cpp, "python": strip_python, "shell": strip_shell}[language](text)
    top = path.parts[0]
    if top == "tests" or path.parts[:2] == ("python", "tests"):
        yield from check_sleeps(text, code, language)
    if language != "cpp" or top not in ("src", "include"):
        return
    if top == "include":
        yield from check_public_header(code)
    elif len(path.parts) > 2:
        yield from check_layer_source(path.parts[1], code, layers)
    for door in DOORS:
        yield from door.findings(str(path), code)


def findings(root):
    """Every finding under `root` as (path, line, rule, message)."""
    cmake = root / "src" / "CMakeLists.txt"
    layers = Layers(cmake.read_text(encoding="utf-8") if cmake.is_file() else "")
    for folder in layers.circles():
        yield "src/CMakeLists.txt", 1, "include-edge", f"the layer {folder} stands below itself"
    for path in sources(root):
        for line, rule, message in check_file(root, path, layers):
            yield str(path), line, rule, message


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--self-test", action="store_true", help="only check that each rule bites")
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2])
    arguments = parser.parse_args()

    import self_test

    problems = self_test.run(findings)
    for problem in problems:
        print("self-test:", problem)
    if problems or arguments.self_test:
        print("self-test:", "failed" if problems else f"ok, {len(self_test.CASES)} cases")
        return 1 if problems else 0
    found = sorted(findings(arguments.root))
    for path, line, rule, message in found:
        print(f"{path}:{line}: [{rule}] {message}")
    print(f"tidy: {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
