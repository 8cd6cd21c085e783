"""The list of mutations: scripts/mutations.toml, read and checked against the sources."""

import dataclasses
import pathlib
import sys
from typing import List, Tuple

try:
    import tomllib
except ImportError:
    sys.exit("mutate: Python 3.11 or newer is needed to read scripts/mutations.toml (tomllib)")

LIST = pathlib.Path(__file__).resolve().parent / "mutations.toml"
KEYS = {"name", "file", "before", "after", "breaks", "programs"}
DEFAULT_PROGRAMS = ("crash", "unit_store")


@dataclasses.dataclass(frozen=True)
class Mutation:
    name: str
    file: str
    before: str  # stands exactly once in the file
    after: str
    breaks: str  # the promise, in words
    programs: Tuple[str, ...]  # of tests/CMakeLists.txt, perhaps with a filter of their tests; one of them must turn red

    def targets(self) -> List[str]:
        """What of the build they need."""
        return sorted({program.split()[0] for program in self.programs})


def load(path: pathlib.Path = LIST) -> List[Mutation]:
    with path.open("rb") as file:
        content = tomllib.load(file)
    mutations = []
    for item in content["mutation"]:
        unknown = set(item) - KEYS
        if unknown:
            sys.exit(f"mutate: {path.name}: unknown keys {sorted(unknown)} in {item.get('name')}")
        programs = tuple(item.get("programs", DEFAULT_PROGRAMS))
        texts = (item["before"].strip("\n"), item["after"].strip("\n"))
        mutations.append(Mutation(item["name"], item["file"], *texts, item["breaks"], programs))
    return mutations


def problems(mutations: List[Mutation], root: pathlib.Path) -> List[str]:
    """What keeps a mutation from being applied, one line each."""
    found = []
    names = [one.name for one in mutations]
    for one in mutations:
        if names.count(one.name) > 1:
            found.append(f"{one.name}: the name stands twice in the list")
        if one.before == one.after:
            found.append(f"{one.name}: it changes nothing")
        file = root / one.file
        if not file.is_file():
            found.append(f"{one.name}: there is no {one.file}")
            continue
        times = file.read_text(encoding="utf-8").count(one.before)
        if times != 1:
            found.append(f"{one.name}: its text stands {times} times in {one.file}, not once: {one.before.splitlines()[0].strip()}")
    return found
