"""The size of optimizer state that does not exist yet, against what the first step then makes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
import torch

import stillframe
from stillframe._optimizer_size import Size, state_to_come

_Make = Callable[[List[torch.nn.Parameter]], torch.optim.Optimizer]
_OPTIMIZERS: Dict[str, _Make] = {
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.Adam,
    "adam_amsgrad": lambda parameters: torch.optim.Adam(parameters, amsgrad=True),
    "adam_fused": lambda parameters: torch.optim.Adam(parameters, fused=True),
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
    "asgd": torch.optim.ASGD,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "rmsprop_all": lambda parameters: torch.optim.RMSprop(parameters, momentum=0.9, centered=True),
    "rprop": torch.optim.Rprop,
    "sgd": torch.optim.SGD,
    "sgd_momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
}


def _tensor_bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    return sum(_tensor_bytes(item) for item in value.values()) if isinstance(value, dict) else 0


@pytest.mark.parametrize("name", sorted(_OPTIMIZERS))
def test_it_is_what_the_first_step_makes(name: str) -> None:
    frozen = torch.nn.Parameter(torch.zeros(500), requires_grad=False)
    parameters = [torch.nn.Parameter(torch.zeros(100, 30)), torch.nn.Parameter(torch.zeros(7)), frozen]
    optimizer = _OPTIMIZERS[name](parameters)
    already = _tensor_bytes(dict(optimizer.state))
    expected = already + state_to_come(optimizer).bytes
    for parameter in parameters[:2]:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    counters = 16 * len(parameters)  # of steps, schedules of the update: scalars
    assert _tensor_bytes(dict(optimizer.state)) == pytest.approx(expected, abs=counters)
    assert state_to_come(optimizer) == Size()


def test_an_unknown_optimizer_counts_as_adam_does() -> None:
    class Mine(torch.optim.SGD):
        pass

    parameter = torch.nn.Parameter(torch.zeros(1000))
    assert state_to_come(Mine([parameter], lr=0.1)).bytes == 2 * 4000 + 4


def test_lazy_parameters_count_nothing_until_they_have_a_shape() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.nn.LazyLinear(5)
    assert state_to_come(torch.optim.Adam(model.parameters())) == Size()


def test_the_memory_is_there_before_the_first_snapshot_and_does_not_grow_with_the_first_step(tmp_path: Path) -> None:
    model = torch.nn.Linear(1500, 1000)
    optimizer = torch.optim.AdamW(model.parameters())
    with stillframe.Checkpointer(tmp_path, model=model, optimizer=optimizer) as ckpt:
        status = ckpt.status()
        made = status["arena_bytes"]
        assert status["mode"] == "double"
        assert made > 2 * 3 * 6_000_000
        assert status["expected_image_bytes"] == pytest.approx(3 * 6_004_000, rel=0.01)
        ckpt.snapshot(0).wait_durable()
        model(torch.ones(1, 1500)).sum().backward()
        optimizer.step()
        ckpt.snapshot(1).wait_durable()
        assert ckpt.status()["arena_bytes"] == made


def test_a_budget_that_is_too_small_is_refused_at_construction_with_the_figures(tmp_path: Path) -> None:
    model = torch.nn.Linear(1000, 1000)
    with pytest.raises(stillframe.NoSpaceError, match="needs at least .* budget is 2.0 MiB"):
        stillframe.Checkpointer(tmp_path, model=model, budget_bytes=2 << 20)
