"""Inputs that are not those of a plan are refused in a line, which tells what to do about what differs."""

import pytest

torch = pytest.importorskip("torch")

from torch._subclasses.fake_tensor import FakeTensorMode

from networks.torch_models.inputs import described_inputs, refuse_other_inputs

X = torch.zeros(8, 6)


def on_gpu(number):
    with FakeTensorMode():
        return torch.empty(8, 6, device=f"cuda:{number}")


@pytest.mark.parametrize(
    ("expected", "found", "way_out"),
    [
        (X, X[:5], r", or leave an incomplete batch out \(drop_last=True\)"),
        (X, X.double(), ", or convert them to the plan's type"),
        (X, on_gpu(0), ", or move them to the plan's device"),
        (X, X.T.contiguous().T, r", or copy them into the plan's strides, as x.contiguous\(\) does.*"),
        (X, X.clone().requires_grad_(), ", or give them the plan's requires_grad"),
        (X, torch.zeros(8, 7), ""),
        (X, torch.zeros(8, 6, 2), ""),
        (X, [X], ""),
        ([X], [X, X], ""),
        ({"x": X}, {"y": X}, ""),
        ({"x": X}, {"x": X[:5]}, r", or leave an incomplete batch out \(drop_last=True\)"),
        ([X, {"mask": X}], [X, {"mask": X.bool()}], ", or convert them to the plan's type"),
        ((X, 1), (X, 2), ""),
    ],
)
def test_other_inputs_are_refused_with_the_way_out_that_fits(expected, found, way_out):
    expected = described_inputs((expected,))
    with pytest.raises(ValueError, match=f": profile the model with such inputs{way_out}$") as caught:
        refuse_other_inputs((found,), expected)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [X, on_gpu(1), [X, {"mask": X}], (X, 3), None, torch.tensor(1.0)])
def test_inputs_like_those_of_the_plan_are_taken(value):
    refuse_other_inputs((value,), described_inputs((value,)))


def test_a_plan_is_for_every_device_of_its_kind():
    refuse_other_inputs((on_gpu(1),), described_inputs((on_gpu(0),)))
