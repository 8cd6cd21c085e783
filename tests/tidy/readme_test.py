"""What README.md names must exist: the functions of its tables in their files, its commands, its folders and links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import List, Tuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def path_rows() -> List[Tuple[str, str]]:
    """(function, file) of each row of a table headed `function · file · thread`."""
    rows: List[Tuple[str, str]] = []
    inside = False
    for line in README.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if cells == ["function", "file", "thread"]:
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not set(line) <= set("|-: "):
            assert len(cells) == 3 and all(cells), f"a row of a path has three filled cells: {line}"
            for function in re.findall(r"`([^`]+)`", cells[0]):
                rows += [(function, file) for file in re.findall(r"`([^`]+)`", cells[1])]
    return rows


def defines(text: str, function: str) -> bool:
    """Whether `Class::name` or `name` is declared or defined there, as a word before a parenthesis."""
    name = function.removesuffix("()").replace(".", "::").split("::")[-1]
    return re.search(rf"\b{re.escape(name)}\s*\(", text) is not None


def commands() -> List[str]:
    """First words of the lines in README's sh blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line.split()[0] for line in lines if line and not line.startswith("#")]


def test_both_paths_are_there() -> None:
    assert README.count("| function | file | thread |") == 2
    assert len(path_rows()) >= 12


@pytest.mark.parametrize(("function", "file"), path_rows())
def test_each_function_of_a_path_stands_in_its_file(function: str, file: str) -> None:
    assert (ROOT / file).is_file(), f"README names {file}"
    assert defines((ROOT / file).read_text(encoding="utf-8"), function), f"README names {function} in {file}"


@pytest.mark.parametrize("command", sorted({word for word in commands() if "/" in word}))
def test_each_command_of_the_checkout_exists(command: str) -> None:
    assert (ROOT / command).is_file()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)\)", README))))
def test_each_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


@pytest.mark.parametrize("folder", sorted(set(re.findall(r"^([a-z_.]+(?:/[a-z_]+)*)/ ", README, flags=re.MULTILINE))))
def test_each_folder_of_the_house_exists(folder: str) -> None:
    assert (ROOT / folder).is_dir()


def gpu_rows(measurements: str) -> List[str]:
    """The first cells of the table of rows that scripts/gpu_check measures."""
    table = measurements.split("| row | what it measures | goal |", 2)[-1].split("\n\n")[0]
    return [line.strip("|").split("|")[0].strip() for line in table.splitlines()[2:]]


def test_what_never_ran_on_a_gpu_is_listed_as_unproven() -> None:
    measurements = (ROOT / "docs" / "measurements.md").read_text(encoding="utf-8")
    measured = measurements.split("<!-- gpu rows: begin -->")[1].split("<!-- gpu rows: end -->")[0].strip()
    rows = gpu_rows(measurements)
    assert len(rows) >= 5
    unproven = README.split("## Unproven on a GPU")[1].split("\n## ")[0] if not measured else ""
    listed = re.findall(r"^\| ([^|]+?) \|", unproven, flags=re.MULTILINE)
    for row in rows if not measured else []:
        assert any(one.startswith(row) for one in listed), f"README does not list {row!r} as unproven"


def test_a_name_that_is_not_there_would_be_found() -> None:
    text = "Status Copier::enqueue(Job job) {"
    assert defines(text, "Copier::enqueue")
    assert not defines(text, "Copier::enqueues")
