"""Ranks whose model and optimizer are the same: rank 0 writes them for all, and each rank gets back what is its own."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
import torch
from torch import nn

import stillframe
from stillframe import _ddp
from machine import cli, wait_until
from stillframe._errors import MismatchError
from support import same
from training import DEADLINE_SECONDS, Run, no_warnings

pytestmark = pytest.mark.usefixtures("library")

RANKS = 3


class Rank(Run):
    """One of several ranks in this process. Models differ from rank to rank, so that it shows whose came back."""

    def __init__(self, rank: int, seed: int = 0, width: int = 32) -> None:
        super().__init__(width=width, seed=100 + 10 * seed + rank)
        self.rank = rank
        self.seen: Dict[str, Any] = {"rank": rank, "position": torch.full((5,), seed + rank)}

    def state_dict(self) -> Dict[str, Any]:
        return dict(self.seen)

    def load_state_dict(self, saved: Dict[str, Any]) -> None:
        self.seen = dict(saved)

    def same_for_all(self) -> Any:
        return {"model": dict(self.model.state_dict()), "optimizer": self.optimizer.state_dict()}

    def own(self) -> Any:
        return {"scheduler": self.scheduler.state_dict(), "seen": self.seen, "rng": torch.get_rng_state()}


@contextlib.contextmanager
def checkpointers(store: Path, ranks: List[Rank], **options: Any) -> Iterator[List[stillframe.Checkpointer]]:
    """One for each rank. At the end all are fenced before the first is closed, which waits for the others."""
    with contextlib.ExitStack() as stack:
        made = [
            stack.enter_context(
                one.checkpointer(store, state={"seen": one}, rank=one.rank, world_size=len(ranks), **options)
            )
            for one in ranks
        ]
        yield made
        for ckpt in made:
            ckpt.fence()


def take(ranks: List[Rank], made: List[stillframe.Checkpointer], step: int) -> List[Any]:
    """A verified checkpoint of the step; what was in it, rank by rank."""
    held, tickets = [], []
    for one, ckpt in zip(ranks, made):
        torch.manual_seed(1000 * step + one.rank)
        one.step()
        held.append(copy.deepcopy([one.same_for_all(), one.own()]))
        tickets.append(ckpt.snapshot(step, extra={"of": one.rank}))
    for ckpt in made:
        ckpt.fence()
    for ticket in tickets:
        ticket.wait_verified(DEADLINE_SECONDS)
    return held


def write(store: Path, steps: int = 1, width: int = 32, **options: Any) -> List[List[Any]]:
    """A store of so many steps; of each what take() says."""
    ranks = [Rank(rank, width=width) for rank in range(RANKS)]
    with checkpointers(store, ranks, **options) as made:
        return [take(ranks, made, step) for step in range(steps)]


def restore(store: Path, **options: Any) -> Iterator[Any]:
    """What each rank has after its restore, of ranks that were made differently."""
    ranks = [Rank(rank, seed=5) for rank in range(RANKS)]
    with checkpointers(store, ranks, **options) as made:
        for one, ckpt in zip(ranks, made):
            restored = ckpt.restore()
            assert restored is not None and restored.extra == {"of": one.rank}
            yield restored, [one.same_for_all(), one.own()]


def manifest_of(store: Path) -> Any:
    return json.loads(max(store.glob("*/manifest.json")).read_text())


def test_model_and_optimizer_are_written_by_rank_0_alone(tmp_path: Path) -> None:
    write(tmp_path / "whole", width=256, replicated=False)
    write(tmp_path / "once", width=256, replicated=True)
    whole, once = manifest_of(tmp_path / "whole"), manifest_of(tmp_path / "once")
    shared = sum(
        entry["bytes"] for entry in whole["ranks"][0]["entries"] if entry["name"].startswith(("model.", "optimizer."))
    )
    assert shared > 40_000
    assert once["raw_bytes"] == whole["raw_bytes"] - (RANKS - 1) * shared
    assert once["ranks"][0]["image_bytes"] == whole["ranks"][0]["image_bytes"]
    for rank in once["ranks"][1:]:
        assert [entry["name"] for entry in rank["entries"]] == ["state.seen.position", "rng.numpy.1", "rng.torch"]
        assert rank["tree"]["from_rank_0"] == ["model", "optimizer"]
    # On the disk as well.
    (directory,) = (path.parent for path in (tmp_path / "once").glob("*/manifest.json"))
    sizes = [(directory / f"rank-{rank:05}.data").stat().st_size for rank in range(RANKS)]
    assert max(sizes[1:]) <= once["ranks"][1]["image_bytes"] < 8_000 and sizes[0] > shared // 2


@pytest.mark.parametrize("written, read", [(True, True), (True, False), (False, True)])
def test_each_rank_gets_back_what_all_share_and_what_is_its_own(tmp_path: Path, written: bool, read: bool) -> None:
    (held,) = write(tmp_path, replicated=written)
    for rank, (restored, now) in enumerate(restore(tmp_path, replicated=read)):
        assert restored.step == 0 and not restored.skipped
        expected = [held[0 if written else rank][0], held[rank][1]]
        assert same(now, expected), f"rank {rank}"


def test_ranks_that_are_no_longer_kept_equal_take_their_own_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [True]
    monkeypatch.setattr(_ddp, "_kept_equal", lambda *_: kept[0])
    ranks = [Rank(rank) for rank in range(RANKS)]
    with checkpointers(tmp_path, ranks) as made:
        take(ranks, made, 0)
        assert all(ckpt.status()["replicated"] for ckpt in made)
        kept[0] = False
        for one in ranks:
            setattr(one.model, "_comm_hooks", ["average now and then"])
        with pytest.warns(RuntimeWarning, match="from now on this rank takes its own"):
            held = take(ranks, made, 1)
        assert [ckpt.status()["replicated"] for ckpt in made] == [True] + [False] * (RANKS - 1)
    for rank, (restored, now) in enumerate(restore(tmp_path, replicated=False)):
        assert restored.step == 1 and same(now, held[rank]), f"rank {rank}"


def test_a_model_without_memory_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, replicated=True)
    ranks = [Rank(rank) for rank in range(RANKS)]
    ranks[1].model.to("meta")
    with checkpointers(tmp_path, ranks, replicated=True) as made:
        with pytest.raises(MismatchError, match="no memory to restore into"):
            made[1].restore()


def test_load_gives_the_whole_tree_of_every_rank(tmp_path: Path) -> None:
    (held,) = write(tmp_path, replicated=True)
    for rank in range(RANKS):
        tree = stillframe.load(tmp_path, rank=rank)
        assert list(tree) == ["model", "optimizer", "scheduler", "rng", "state", "extra"]
        assert same(dict(tree["model"]), held[0][0]["model"]) and tree["state"]["seen"]["rank"] == rank
    cli("verify", tmp_path, "--all")


def test_a_difference_is_named_and_nothing_is_touched(tmp_path: Path) -> None:
    write(tmp_path, replicated=True)
    ranks = [Rank(rank, seed=5, width=33 if rank == 1 else 32) for rank in range(RANKS)]
    with checkpointers(tmp_path, ranks, replicated=True) as made:
        before = copy.deepcopy([ranks[1].same_for_all(), ranks[1].own()])
        with pytest.raises(MismatchError, match=r"model\['0.weight'\]: torch.float32 \[32, 8\] in the checkpoint"):
            made[1].restore()
        assert same([ranks[1].same_for_all(), ranks[1].own()], before)


def test_what_rank_0_did_not_track_is_missing_by_name(tmp_path: Path) -> None:
    first, second = Rank(0), Rank(1)
    first.model = None  # type: ignore[assignment]
    with checkpointers(tmp_path, [first, second], replicated=True) as made:
        for ckpt in made:
            ckpt.snapshot(0)
    ranks = [Rank(0, seed=5), Rank(1, seed=5)]
    with checkpointers(tmp_path, ranks, replicated=True) as made:
        with pytest.raises(MismatchError, match="model: not in the checkpoint"):
            made[1].restore()


def test_damage_of_the_shared_part_sends_every_rank_to_the_same_older_step(tmp_path: Path) -> None:
    held = write(tmp_path, steps=2, replicated=True)
    newest = max(tmp_path.glob("*/manifest.json")).parent
    data = newest / "rank-00000.data"
    raw = bytearray(data.read_bytes())
    raw[0] ^= 1
    data.unlink()
    data.write_bytes(raw)
    with pytest.warns(RuntimeWarning, match=f"passed over {newest.name}"):
        found = list(restore(tmp_path, replicated=True))
    for rank, (restored, now) in enumerate(found):
        assert restored.step == 0 and [one.name for one in restored.skipped] == [newest.name]
        assert same(now, [held[0][0][0], held[0][rank][1]]), f"rank {rank}"


def test_a_rank_beside_rank_0_stands_in_nobodys_fence(tmp_path: Path) -> None:
    ranks = [Rank(0), Rank(1)]
    with no_warnings(), checkpointers(tmp_path, ranks, replicated=True, fence_deadline=5.0) as made:
        second = made[1].snapshot(0)
        with torch.no_grad():
            ranks[1].model[0].weight.add_(1.0)  # of no concern to it
        ranks[1].step()  # rank 0 has no snapshot yet
        assert second.error is None and second.state == "copying"
        first = made[0].snapshot(0)
        ranks[0].step()
        # By the steps alone, which fence what a rank has of its own as well: no later snapshot says so.
        assert first.wait_verified(DEADLINE_SECONDS) and second.wait_verified(DEADLINE_SECONDS)


def test_guarded_tensors_of_a_rank_beside_rank_0_are_fenced_by_its_step(tmp_path: Path) -> None:
    ranks, average = [Rank(0), Rank(1)], torch.ones(1 << 20)
    with no_warnings(), checkpointers(tmp_path, ranks, replicated=True) as made:
        made[1].guard([average, *ranks[1].model.parameters()])
        ranks[1].seen["average"] = average
        for step in range(3):
            for one, ckpt in zip(ranks, made):
                ckpt.snapshot(step)
                one.step()
            average.mul_(2.0)
        assert made[1].status()["plan"]["guarded_bytes"] == average.nbytes
    assert same(stillframe.load(tmp_path, rank=1)["state"]["seen"]["average"], torch.full((1 << 20,), 4.0))


def test_only_rank_0_says_that_the_weights_stand_still(tmp_path: Path) -> None:
    ranks = [Rank(0), Rank(1)]
    with pytest.warns(RuntimeWarning) as caught, checkpointers(tmp_path, ranks, replicated=True) as made:
        for step in range(2):
            tickets = [ckpt.snapshot(step) for ckpt in made]
            for ckpt in made:
                ckpt.fence()
            for ticket in tickets:
                ticket.wait_verified(DEADLINE_SECONDS)
                wait_until(lambda: ticket.stored_bytes > 0, "the daemon's words on it")
        assert [[alarm.kind for alarm in ticket.alarms] for ticket in tickets] == [["stale_state"], []]
    assert [alarm["text"][:8] for alarm in manifest_of(tmp_path)["alarms"]] == ["rank 0: "]
    assert len([one for one in caught if "stale_state" in str(one.message)]) == 1


def test_a_rank_may_have_nothing_of_its_own(tmp_path: Path) -> None:
    ranks = [Rank(0), Rank(1)]
    with contextlib.ExitStack() as stack:
        made = [
            stack.enter_context(stillframe.Checkpointer(tmp_path, model=one.model, rank=one.rank, world_size=2, replicated=True))
            for one in ranks
        ]
        assert [ckpt.status()["replicated"] for ckpt in made] == [True, True]
        assert made[1].status()["expected_image_bytes"] == 0
        for ckpt in made:
            ckpt.snapshot(7)
        for ckpt in made:
            ckpt.fence()
    assert [rank["image_bytes"] > 0 for rank in manifest_of(tmp_path)["ranks"]] == [True, False]
    other = nn.Sequential(*Rank(1, seed=5).model)
    with stillframe.Checkpointer(tmp_path, model=other, rank=1, world_size=2) as ckpt:
        assert ckpt.restore() is not None
    assert same(dict(other.state_dict()), dict(ranks[0].model.state_dict()))


def test_a_tree_of_ones_own_is_each_ranks_own(tmp_path: Path) -> None:
    ranks = [Rank(0), Rank(1)]
    trees = [{"from_rank_0": value, "here": torch.full((3,), float(rank))} for rank, value in ((0, 1), (1, ["weights"]))]
    with checkpointers(tmp_path, ranks, replicated=True) as made:
        for tree, ckpt in zip(trees, made):
            ckpt.snapshot(0, state=tree)
    assert [same(stillframe.load(tmp_path, rank=rank), tree) for rank, tree in enumerate(trees)] == [True, True]


def test_alone_there_is_nobody_to_share_with(tmp_path: Path) -> None:
    ranks = [Rank(0)]
    with checkpointers(tmp_path, ranks, replicated=True) as made:
        assert made[0].status()["replicated"] is False
        (held,) = take(ranks, made, 0)
    other = [Rank(0, seed=5)]
    with checkpointers(tmp_path, other, replicated=True) as made:
        assert made[0].restore() is not None
        assert same([other[0].same_for_all(), other[0].own()], held)
    with pytest.raises(ValueError, match="replicated is True, False or None, not 'yes'"):
        Rank(0).checkpointer(tmp_path, replicated="yes")
