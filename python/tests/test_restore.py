"""A killed run goes on as if nothing had been: bit for bit, or not at all and with every reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

import pytest
import torch
from torch import nn

import stillframe
from stillframe._buffers import TensorSpec
from stillframe._restore import Placement, devices_here, install_optimizer
from support import same
from training import Child, Run, data_file, save_steps

RESUME = """
import sys, torch
from training import Run
run = Run(seed=99)
with run.checkpointer(sys.argv[1]) as ckpt:
    resumed = ckpt.restore()
    assert resumed is not None and not resumed.skipped and resumed.extra == {"epoch": resumed.step}
    for step in range(resumed.step + 1, 6):
        run.step()
torch.save(run.everything(), sys.argv[2])
print("resumed", resumed.step, flush=True)
"""


@pytest.mark.usefixtures("library")
def test_a_fresh_process_continues_bit_for_bit(tmp_path: Path) -> None:
    run, _ = save_steps(tmp_path / "store", 3)
    for _ in range(3, 6):
        run.step()
    with Child(RESUME, str(tmp_path / "store"), str(tmp_path / "end.pt")) as child:
        assert child.hear("resumed") == "2" and child.end() == 0
    assert same(torch.load(tmp_path / "end.pt", weights_only=False), run.everything())


@pytest.mark.usefixtures("library")
def test_an_empty_store_restores_nothing(tmp_path: Path) -> None:
    with Run().checkpointer(tmp_path / "store") as ckpt:
        assert ckpt.restore() is None
    with pytest.raises(stillframe.NotFoundError):
        stillframe.load(tmp_path / "store")


@pytest.mark.usefixtures("library")
def test_a_step_can_be_chosen_and_metrics_come_back(tmp_path: Path) -> None:
    save_steps(tmp_path, 3)
    with Run().checkpointer(tmp_path) as ckpt:
        restored = ckpt.restore(step=1)
        assert restored is not None and restored.step == 1 and restored.metrics == {"loss": 0.5}
        assert restored.name.startswith("000002-step000001-") and restored.seconds > 0
        with pytest.raises(stillframe.NotFoundError, match="step 77"):
            ckpt.restore(step=77)


@pytest.mark.usefixtures("library")
def test_a_fresh_optimizer_gets_its_state_with_the_saved_dtypes(tmp_path: Path) -> None:
    model = nn.Linear(4, 2).to(torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 4, dtype=torch.bfloat16)).sum().backward()
    optimizer.step()
    for state in optimizer.state.values():
        state["exp_avg"] = state["exp_avg"].float() + 1e-7
    with stillframe.Checkpointer(tmp_path, model=model, optimizer=optimizer) as ckpt:
        ckpt.snapshot(1)
    other = nn.Linear(4, 2).to(torch.bfloat16)
    fresh = torch.optim.AdamW(other.parameters(), lr=123.0)
    with stillframe.Checkpointer(tmp_path, model=other, optimizer=fresh) as ckpt:
        assert ckpt.restore() is not None
    assert same(fresh.state_dict(), optimizer.state_dict()) and same(dict(other.state_dict()), dict(model.state_dict()))


@pytest.mark.usefixtures("library")
def test_lazy_parameters_are_materialised(tmp_path: Path) -> None:
    model = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    model(torch.randn(5, 7))
    with stillframe.Checkpointer(tmp_path, model=model) as ckpt:
        ckpt.snapshot(1)
    lazy = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    with stillframe.Checkpointer(tmp_path, model=lazy) as ckpt:
        assert ckpt.restore() is not None
    assert same(dict(lazy.state_dict()), dict(model.state_dict()))
    lazy.eval(), model.eval()
    assert torch.equal(lazy(torch.ones(2, 7)), model(torch.ones(2, 7)))


@pytest.mark.usefixtures("library")
def test_a_mismatch_lists_everything_and_touches_nothing(tmp_path: Path) -> None:
    save_steps(tmp_path, 1)
    run = Run(width=16)
    run.model.add_module("more", nn.Linear(1, 1, bias=False))
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    with run.checkpointer(tmp_path) as ckpt, pytest.raises(stillframe.MismatchError) as caught:
        ckpt.restore()
    text = str(caught.value)
    for expected in ("model['0.weight']: torch.float32 [32, 8] in the checkpoint, torch.float32 [16, 8] here",
                     "model['1.running_mean']", "model['4.weight']", "model['more.weight']: not in the checkpoint"):
        assert expected in text
    assert len(caught.value.differences) == 8 and "nothing was touched" in text
    assert same(dict(run.model.state_dict()), before) and not run.optimizer.state


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_damaged_newest_checkpoint_falls_back_and_says_why(tmp_path: Path, damage: str) -> None:
    save_steps(tmp_path, 2)
    newest = data_file(tmp_path)
    raw = bytearray(newest.read_bytes())
    raw[len(raw) // 2] ^= 1
    newest.chmod(0o600)
    if damage == "delete":
        newest.unlink()
    else:
        newest.write_bytes(raw if damage == "flip" else raw[: len(raw) // 2])
    with Run().checkpointer(tmp_path) as ckpt:
        with pytest.warns(RuntimeWarning, match=f"passed over {newest.parent.name}"):
            restored = ckpt.restore()
    assert restored is not None and restored.step == 0 and restored.extra == {"epoch": 0}
    assert [item.step for item in restored.skipped] == [1] and restored.skipped[0].reason
    with pytest.warns(RuntimeWarning, match="load passed over"):
        assert stillframe.load(tmp_path)["extra"] == {"epoch": 0}


@pytest.mark.usefixtures("library")
def test_when_nothing_can_be_read_the_error_says_what_is_overwritten(tmp_path: Path) -> None:
    save_steps(tmp_path, 1)
    broken = data_file(tmp_path)
    raw = bytearray(broken.read_bytes())
    raw[-1] ^= 0x80
    broken.chmod(0o600)
    broken.write_bytes(raw)
    with Run().checkpointer(tmp_path) as ckpt:
        with pytest.raises(stillframe.CorruptError, match="partly overwritten"):
            ckpt.restore()


@pytest.mark.usefixtures("library")
def test_several_models_and_further_state(tmp_path: Path) -> None:
    def make() -> Any:
        models = {"g": nn.Linear(2, 2), "d": nn.Linear(3, 1)}
        optimizers = [torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9) for model in models.values()]
        return models, optimizers, torch.amp.GradScaler("cpu", init_scale=8.0)

    models, optimizers, scaler = make()
    with stillframe.Checkpointer(tmp_path, model=models, optimizer=optimizers, state={"scaler": scaler}) as ckpt:
        ckpt.snapshot(1)
    models2, optimizers2, scaler2 = make()
    with stillframe.Checkpointer(tmp_path, model=models2, optimizer=optimizers2, state={"scaler": scaler2}) as ckpt:
        assert ckpt.restore() is not None
    assert all(same(dict(models[k].state_dict()), dict(models2[k].state_dict())) for k in models)
    assert scaler2.state_dict() == scaler.state_dict()


@pytest.mark.usefixtures("library")
def test_tied_parameters_stay_tied_and_are_stored_once(tmp_path: Path) -> None:
    def make() -> nn.Sequential:
        model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
        model[1].weight = model[0].weight
        return model

    model, other = make(), make()
    with stillframe.Checkpointer(tmp_path, model=model) as ckpt:
        assert ckpt.snapshot(1).raw_bytes == 36
    with stillframe.Checkpointer(tmp_path, model=other) as ckpt:
        assert ckpt.restore() is not None
    assert other[0].weight is other[1].weight and torch.equal(other[0].weight, model[0].weight)
    untied = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    with stillframe.Checkpointer(tmp_path, model=untied) as ckpt:
        assert ckpt.restore() is not None
    assert torch.equal(untied[0].weight, model[0].weight) and torch.equal(untied[1].weight, model[0].weight)


def _optimizers() -> List[Any]:
    return [
        lambda p: torch.optim.AdamW(p, amsgrad=True), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.LBFGS(p), lambda p: torch.optim.Adagrad(p), lambda p: torch.optim.Adafactor(p),
        lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.01), capturable=False, foreach=False),
    ]  # fmt: skip


@pytest.mark.parametrize("make", _optimizers())
def test_every_kind_of_optimizer_goes_on_as_if_never_stopped(make: Any) -> None:
    from support import round_trip

    def train(parameters: List[nn.Parameter], optimizer: Any) -> None:
        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = sum((parameter.square().sum() for parameter in parameters), torch.zeros(()))
            loss.backward()
            return loss

        optimizer.step(closure)

    torch.manual_seed(3)
    parameters = [nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(3))]
    optimizer = make(parameters)
    train(parameters, optimizer)
    copies = [nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    fresh = make(copies)
    install_optimizer(fresh, round_trip(optimizer.state_dict()))
    assert same(fresh.state_dict(), optimizer.state_dict())
    train(parameters, optimizer)
    train(copies, fresh)
    assert same([copy.detach() for copy in copies], [parameter.detach() for parameter in parameters])




def test_what_another_gpu_held_comes_beside_the_model_that_is_restored() -> None:
    def saved_on(device: str) -> TensorSpec:
        return TensorSpec("model.weight", torch.float32, (3,), (1,), 0, True, True, True, device)

    elsewhere = torch.empty(3, device="meta")  # stands for the GPU of this rank
    locate = devices_here([Placement(saved_on("cuda:0"), elsewhere), Placement(saved_on("cpu"), elsewhere)])
    assert locate("cuda:0") == elsewhere.device
    assert locate("cpu") == torch.device("cpu"), "where a counter of steps belongs"
    assert locate("cuda:77") == torch.device("cpu"), "this machine has no such device"
