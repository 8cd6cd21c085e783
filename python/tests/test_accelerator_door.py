"""What the package does with a tensor once its door says that it is on an accelerator; the door itself on this machine."""

from __future__ import annotations

import json

import pytest
import torch

from stillframe import _accelerator
from stillframe._buffers import BufferSource, EntryInfo, map_location
from stillframe._errors import CorruptError
from stillframe._metrics import Metrics
from stillframe._scaler import scaler_numbers, scaler_state
from stillframe._walk import walk
from support import same


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_accelerator, "device_of", lambda tensor: 1)


@pytest.fixture
def on_another_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_accelerator, "device_of", lambda tensor: _accelerator.STAGED)


def scaler() -> torch.amp.GradScaler:
    made = torch.amp.GradScaler("cpu", init_scale=512.0)
    made.scale(torch.ones(()))  # only now has it its two tensors
    return made


def test_a_tensor_of_the_host_is_there_and_no_graph_is_captured() -> None:
    assert _accelerator.device_of(torch.ones(2)) == _accelerator.HOST
    assert not _accelerator.capturing()


@pytest.mark.parametrize("guarded", [True, False])
def test_an_entry_of_a_gpu_keeps_its_address_and_guard(guarded: bool, on_gpu: None) -> None:
    tensor = torch.ones(6)
    storages = frozenset({tensor.untyped_storage()._cdata}) if guarded else frozenset()
    walked = walk({"x": tensor[2:4]}, storages)
    assert walked.layout() == (("x", "F32", (2,), guarded, False, 1),)
    assert walked.pointers()[0] == [tensor.data_ptr() + 8]


def test_an_entry_of_another_accelerator_is_copied_in_the_call(on_another_accelerator: None) -> None:
    tensor = torch.ones(6)
    entry = walk({"x": tensor}).entries[0]
    assert entry.address == 0 and entry.guarded and entry.device == _accelerator.HOST


def test_a_tensor_of_a_gpu_that_was_demoted_is_copied_in_the_call(on_gpu: None) -> None:
    tensor = torch.ones(6)
    entry = walk({"x": tensor}, staged_storages=frozenset({tensor.untyped_storage()._cdata})).entries[0]
    assert entry.address == 0 and entry.device == _accelerator.HOST


def test_a_metric_on_a_gpu_is_an_entry_beside_those_of_the_state(on_gpu: None) -> None:
    losses = torch.ones(6, requires_grad=True) * 2
    walked = walk({"metrics": {"loss": torch.zeros(3)}, "losses": losses.detach()})
    text = Metrics({"rate": 0.5, "loss": losses[4], "mean": losses[:1]}).json(walked.add_metric)
    assert json.loads(text) == {"rate": 0.5, "loss": {"$entry": "metrics.loss#2"}, "mean": {"$entry": "metrics.mean"}}
    assert list(json.loads(text)) == ["rate", "loss", "mean"]
    assert walked.layout()[2:] == (("metrics.loss#2", "F32", (), False, False, 1), ("metrics.mean", "F32", (), False, False, 1))
    addresses, alive = walked.pointers()
    assert addresses[2:] == [losses.data_ptr() + 16, losses.data_ptr()]
    assert not any(one.requires_grad for one in alive[2:]), "the graph behind a loss is not kept"


@pytest.mark.parametrize("value, why", [(torch.ones(2), "shape"), (torch.ones((), dtype=torch.bool), "torch.bool"),
                                        (torch.ones((), dtype=torch.complex64), "torch.complex64")])  # fmt: skip
def test_a_metric_on_a_gpu_is_one_number(value: torch.Tensor, why: str, on_gpu: None) -> None:
    with pytest.raises(TypeError, match=rf"metrics\['loss'\] is a tensor of .*{why}"):
        Metrics({"loss": value})


def test_a_metric_on_another_accelerator_is_refused_with_what_to_do(on_another_accelerator: None) -> None:
    with pytest.raises(TypeError, match=r"metrics\['loss'\] is a tensor on .*\.item\(\)"):
        Metrics({"loss": torch.ones(())})


def test_a_scaler_on_a_gpu_is_not_asked_for_its_numbers(on_gpu: None) -> None:
    live = scaler()
    state = scaler_state(live)
    assert isinstance(state["scale"], torch.Tensor) and isinstance(state["_growth_tracker"], torch.Tensor)
    assert state.keys() == live.state_dict().keys()
    fresh = torch.amp.GradScaler("cpu")
    fresh.load_state_dict(scaler_numbers(state))
    assert fresh.state_dict() == live.state_dict()


def test_a_scaler_on_the_host_is_stored_as_it_says_itself() -> None:
    assert same(scaler_state(scaler()), scaler().state_dict())
    assert scaler_state(torch.amp.GradScaler("cpu", enabled=False)) == {}


def test_a_forged_tree_cannot_have_the_host_read_a_gpu(on_gpu: None) -> None:
    source = BufferSource({"x": EntryInfo("x", "U8", (4,))}, {"x": torch.zeros(4, dtype=torch.uint8)}, map_location("cpu"))
    with pytest.raises(CorruptError, match="tensor of a GPU"):
        source.blob("x")
    with pytest.raises(CorruptError, match="tensor of a GPU"):
        source.array({"entry": "x", "dtype": "|u1", "shape": [4], "order": "C"})
