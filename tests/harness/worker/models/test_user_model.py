"""The device of a model is that which its tensors are on, whoever names it."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from harness.execute.models import profile_blocks
from harness.experiment.job import Job
from harness.worker.models import measures
from harness.worker.models.meta import NOTE
from harness.worker.models.user_model import Model, placed


def model_on(device, sample_device):
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    with FakeTensorMode():
        for part in model.modules():
            for name, parameter in list(part._parameters.items()):
                part._parameters[name] = nn.Parameter(torch.empty(parameter.shape, device=device))
        return Model(model, ({"x": torch.empty(2, 4, device=sample_device)},), torch.sum, None)


@pytest.mark.parametrize("device", ["cpu", "meta", "cuda:0", "cuda:1"])
def test_the_device_is_that_of_parameters_and_sample(device):
    assert model_on(device, device).device == device


def test_a_model_on_several_devices_is_refused():
    model = model_on("cuda:0", "cpu")
    with pytest.raises(ValueError, match=r"^0.weight is on cuda:0, and the sample is on cpu: move both to one device$"):
        _ = model.device


@pytest.mark.parametrize(
    ("on", "asked"), [("meta", "cpu"), ("cuda:0", "cpu"), ("cpu", "cuda"), ("cuda:1", "cuda"), ("cuda:0", "cuda:1")]
)
def test_a_model_that_is_made_elsewhere_than_asked_for_is_refused(on, asked):
    with (
        FakeTensorMode(),
        pytest.raises(ValueError, match=f"^0.weight is on {on}, but the device asked for is {asked}"),
    ):
        placed(model_on(on, on), asked)


@pytest.mark.parametrize(("on", "asked"), [("cpu", "cpu"), ("cuda:0", "cuda"), ("cuda:1", "cuda:1"), ("meta", "meta")])
def test_a_model_that_is_made_where_it_is_asked_for_is_taken(on, asked):
    with FakeTensorMode():
        assert placed(model_on(on, on), asked).module is not None


def test_a_model_on_the_meta_device_is_profiled_there():
    with torch.device("meta"):
        model, x = nn.Sequential(nn.Linear(4, 4), nn.Tanh()), torch.empty(2, 4)
    profile = profile_blocks(model, x, loss=torch.sum)
    assert NOTE in profile.notes
    assert "meta" in profile.inputs


def test_a_model_in_memory_on_several_devices_is_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    with pytest.raises(ValueError, match=r"^0.weight is on cpu, and the sample is on meta: move both to one device$"):
        profile_blocks(model, torch.empty(2, 4, device="meta"), loss=torch.sum)


@pytest.mark.parametrize(("device", "notes"), [("cuda:0", 1), ("cuda:1", 1), ("cpu", 0)])
def test_a_profile_of_a_gpu_says_that_none_was_measured_here(monkeypatch, device, notes):
    monkeypatch.setattr(measures, "model_of", lambda settings: model_on(device, device))
    monkeypatch.setattr(measures, "profile_model", lambda *given: {"notes": []})
    ((row,),) = measures.profile(Job(measure="profile", cells=()))
    assert [note.partition(":")[0] for note in row["notes"]] == ["not measured here"] * notes
