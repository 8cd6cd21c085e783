"""Processes that train together, as torchrun would start and end them, each led line by line."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Dict, Iterator, List

from training import Child


class Launch:
    """All ranks of one start. Each says where it begins and which daemon it has, "updated" and "taken" of each step, "end"; it
    goes on from either of those when it hears a line."""

    def __init__(self, program: str, count: int, *arguments: str) -> None:
        self.ranks: List[Child] = []
        before = dict(os.environ)
        try:
            for rank in range(count):
                os.environ.update(RANK=str(rank), WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count))
                self.ranks.append(Child(program, *arguments))
        finally:
            os.environ.clear()
            os.environ.update(before)
        self.first = [int(one.hear("from")) for one in self.ranks]
        self.daemon = int(self.ranks[0].hear("daemon"))
        self.captured = -1

    def update(self, step: int) -> None:
        for one in self.ranks:
            assert one.hear("updated") == str(step)

    def let_go(self, ranks: List[int]) -> None:
        for rank in ranks:
            self.ranks[rank].say("go")

    def take(self, step: int, ranks: List[int]) -> None:
        self.let_go(ranks)
        for rank in ranks:
            said, captured = self.ranks[rank].hear("taken").split()
            assert said == str(step)
            self.captured = max(self.captured, int(captured))

    def run(self, steps: range) -> None:
        everyone = list(range(len(self.ranks)))
        for step in steps:
            self.update(step)
            self.take(step, everyone)
            self.let_go(everyone)

    def kill(self, first: int) -> None:
        """One dies by itself; the others are ended for it."""
        self.ranks[first].kill()
        for one in self.ranks:
            if one.process.poll() is None:
                one.kill()

    def ends(self) -> List[str]:
        return [one.hear("end") for one in self.ranks]


class Ranks:
    """Starts `count` processes of a program again and again. Its arguments: the store, a file of their own to meet by, and
    how many steps."""

    def __init__(self, tmp_path: Path, program: str, count: int, steps: int) -> None:
        self._tmp_path = tmp_path
        self._program = program
        self._count = count
        self._steps = steps
        self._launches = 0

    @contextlib.contextmanager
    def launch(self, store: Path) -> Iterator[Launch]:
        self._launches += 1
        meeting = self._tmp_path / f"meeting-{self._launches}"
        launch = Launch(self._program, self._count, str(store), str(meeting), str(self._steps))
        with contextlib.ExitStack() as stack:
            for one in launch.ranks:
                stack.enter_context(one)
            yield launch


def ranks_by_step(store: Path) -> Dict[int, List[int]]:
    """Of every published checkpoint, which ranks it holds."""
    found: Dict[int, List[int]] = {}
    for manifest in store.glob("*/manifest.json"):
        if manifest.parent.name.endswith((".partial", ".removing")):
            continue
        head = json.loads(manifest.read_text())
        found[head["step"]] = [one["rank"] for one in head["ranks"]]
    return found
