"""Parts of the state that are the same on all ranks: rank 0 writes them for all, and the tree of each other rank says which."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

from ._buffers import EntryInfo, entries_of
from ._tree import Node

PARTS = ("model", "optimizer")
# A member of the root of a tree, and a list of some of PARTS.
FROM_RANK_0 = "from_rank_0"


def whole_rank(mine: Any, rank: int, rank_0: Any) -> Tuple[Node, Dict[str, EntryInfo]]:
    """The tree and the entries of a rank of a manifest, with what it leaves to `rank_0` (None when the manifest has no such
    rank). What is left to rank 0 and is not there either stays missing. ValueError when both have an entry of one name."""
    tree, entries = mine["tree"], entries_of(mine["entries"], rank)
    left = _left_to_rank_0(tree)
    if not left or rank == 0 or rank_0 is None:
        return tree, entries
    theirs = rank_0["tree"]
    found = {part: theirs[part] for part in left if part in theirs}
    # The first part of a name is where the walk met the tensor, and these parts are walked before the others.
    shared = {name: info for name, info in entries_of(rank_0["entries"], 0).items() if name.partition(".")[0] in found}
    twice = sorted(shared.keys() & entries.keys())
    if twice:
        raise ValueError(f"rank {rank} has an entry {twice[0]!r}, which it leaves to rank 0")
    own = {name: node for name, node in tree.items() if name != FROM_RANK_0}
    return {**found, **own}, {**shared, **entries}


def _left_to_rank_0(tree: Node) -> List[str]:
    """Nothing for a tree of the user's own that happens to have such a member."""
    if not isinstance(tree, dict):
        return []
    left = tree.get(FROM_RANK_0)
    if not isinstance(left, list) or not all(part in PARTS and part not in tree for part in left):
        return []
    return left
