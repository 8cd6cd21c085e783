"""Every command line of stillframe and stillframed that README, docs and configs show is one that the programs take."""

import functools
import pathlib
import re
import shlex
import subprocess

import pytest

from cli_test import program

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "configs").iterdir())]


def command_lines():
    """(page, words) of the lines that are a command, in a block or in a comment."""
    for page in PAGES:
        text = re.sub(r"\\\n\s*", " ", page.read_text(encoding="utf-8"))
        for line in re.findall(r"^(?:#\s+|\$ )?(stillframed? .*)$", text, flags=re.MULTILINE):
            if re.match(r"stillframed? (--|\w+ +(--|[\w/]*[/@]))", line):
                yield page.name, shlex.split(line, comments=True)


def mentions():
    """(page, words) of the commands inside a sentence, which may leave out what a call needs."""
    for page in PAGES:
        for mention in re.findall(r"`(stillframed? [^`\n]*)`", page.read_text(encoding="utf-8")):
            yield page.name, mention.split()


@functools.lru_cache(maxsize=None)
def help_of(*command):
    done = subprocess.run([program(command[0]), *command[1:], "--help"], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout if done.returncode == 0 else ""


def complaint(words, folder):
    """What the parser of the command line says; empty when it takes the line. There is no store, so nothing is done."""
    arguments = words[1:]
    if words[0] == "stillframed" and "--config" not in arguments:
        arguments += ["--config", str(folder / "none.toml")]
    done = subprocess.run([program(words[0]), *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    refused = "Run with --help" in done.stderr or "command line is not understood" in done.stderr
    return done.stderr if refused else ""


@pytest.mark.parametrize(("page", "words"), list(command_lines()), ids=lambda value: value if isinstance(value, str) else value[1])
def test_each_command_line_parses(page, words, tmp_path):
    assert complaint(words, tmp_path) == "", f"{page}: {' '.join(words)}"


@pytest.mark.parametrize(("page", "words"), list(mentions()), ids=lambda value: value if isinstance(value, str) else value[1])
def test_each_command_and_flag_that_is_mentioned_exists(page, words):
    command = words[:1] if words[0] == "stillframed" else words[:2]
    text = help_of(*[word for word in command if not word.startswith("-")])
    assert text, f"{page}: {' '.join(words)}"
    for flag in (word for word in words if word.startswith("--")):
        assert flag.split("=")[0] in re.split(r"[\s,]+", text), f"{page}: {flag}"


def test_the_lines_are_found_and_a_wrong_flag_would_be():
    assert {words[0] for _, words in command_lines()} == {"stillframe", "stillframed"} and len(list(command_lines())) >= 12


@pytest.mark.parametrize("line", ["stillframed --config x --socket y", "stillframe ls runs/gpt --jsn", "stillframe lst runs/gpt"])
def test_a_wrong_line_is_refused(line, tmp_path):
    assert complaint(line.split(), tmp_path)
