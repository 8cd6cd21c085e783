"""What happens to one store, as it happens: the trainer's journal, the daemon's log, and the names in the store.

inotify wakes us; nothing here sleeps. A happening is named after where it was seen: `trainer.called`, `daemon.commit.begin`,
`store.published`.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import struct
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from demo_phases import Tail, parse_log_line

IN_MODIFY, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
EVENT = struct.Struct("iIII")
CHECKPOINT = re.compile(r"\d{6,}-step(\d+)-\d{8}T\d{6}Z")


class Happening(NamedTuple):
    name: str
    step: Optional[int]
    words: str  # the rest of the line, or the name in the store


class Watch:
    """Changes of the names in some folders, and of the files in them."""

    def __init__(self, folders: List[Path]) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self._fd = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._folders: Dict[int, Path] = {}
        mask = IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE
        for folder in folders:
            watch = library.inotify_add_watch(self._fd, os.fsencode(folder), mask)
            if watch < 0:
                raise OSError(ctypes.get_errno(), f"cannot watch {folder}")
            self._folders[watch] = folder

    def wait(self, seconds: float) -> List[Tuple[Path, str, int]]:
        """(folder, name, mask) of what changed; empty when nothing did within `seconds`."""
        if not select.select([self._fd], [], [], max(0.0, seconds))[0]:
            return []
        data, found, at = os.read(self._fd, 1 << 16), [], 0
        while at < len(data):
            watch, mask, _, length = EVENT.unpack_from(data, at)
            at += EVENT.size
            found.append((self._folders[watch], os.fsdecode(data[at : at + length].rstrip(b"\0")), mask))
            at += length
        return found

    def close(self) -> None:
        os.close(self._fd)


class Follower:
    def __init__(self, store: Path, journal: Path, log: Path) -> None:
        self._store = store
        self._journal = Tail(journal)
        self._log = Tail(log)
        self._watch = Watch(sorted({store, journal.parent, log.parent}))

    def read(self, seconds: float) -> List[Happening]:
        """Everything new; waits up to `seconds` for the first."""
        changes = self._watch.wait(seconds)
        found = list(self._names(changes))
        found += [trainer_line(line) for line in self._journal.lines()]
        for event in map(parse_log_line, self._log.lines()):
            if event is not None:
                step = event.fields.get("step")
                words = event.fields.get("pid") or event.fields.get("name") or event.fields.get("error") or ""
                found.append(Happening("daemon." + event.name, int(step) if step else None, words))
        return found

    def close(self) -> None:
        self._watch.close()

    def _names(self, changes: List[Tuple[Path, str, int]]) -> Iterator[Happening]:
        for folder, name, mask in changes:
            match = CHECKPOINT.match(name)
            if folder != self._store or match is None:
                continue
            step = int(match.group(1))
            if name.endswith(".partial") and mask & IN_CREATE:
                yield Happening("store.partial", step, name)
            elif name.endswith(".removing") and mask & IN_MOVED_TO:
                yield Happening("store.removing", step, name)
            elif name == match.group() and mask & IN_MOVED_TO:
                yield Happening("store.published", step, name)


def trainer_line(line: str) -> Happening:
    name, _, rest = line.partition(" ")
    first, _, words = rest.partition(" ")
    if first.isdigit() and name != "start":
        return Happening("trainer." + name, int(first), words)
    return Happening("trainer." + name, None, rest)


def unpublished(store: Path) -> List[str]:
    """Names in the store that are no checkpoint any more, or not yet."""
    return sorted(name for name in os.listdir(store) if name.endswith((".partial", ".removing")))
