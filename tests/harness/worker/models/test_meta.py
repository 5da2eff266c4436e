"""A profile on the meta device has the bytes of one on the CPU, and takes no memory itself."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.nn import functional

from harness.worker import probes
from harness.worker.models.meta import NOTE, _attention_in_one_kernel, profile_on_meta
from harness.worker.models.meters import TensorMeter
from harness.worker.models.profile import profile_model
from harness.worker.models.user_model import Model
from networks.planning.own_models import BlockProfile
from tests.support.torch_models import Decoder, DecoderLayer, Encoder, ResidualNet

ROWS = 6


class Layer(nn.Module):
    """Draws random numbers and writes buffers."""

    def __init__(self, inputs=24, outputs=24):
        super().__init__()
        self.linear, self.norm = nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs)

    def forward(self, x):
        return functional.dropout(torch.relu(self.norm(self.linear(x))), 0.1)


class MaskedAttention(nn.Module):
    """Attention with a mask of truths, of which a buffer is read and not written."""

    def __init__(self, width=24, length=ROWS):
        super().__init__()
        self.inputs = nn.Linear(width, 3 * width)
        self.register_buffer("mask", torch.ones(length, length, dtype=torch.bool).tril())

    def forward(self, x):
        batch, length, width = x.shape
        parts = self.inputs(x).view(batch, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(*parts, attn_mask=self.mask)
        return x + attended.transpose(1, 2).reshape(x.shape)


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


MODELS = {
    "MLP": lambda: (nn.Sequential(Layer(), Layer(24, 48), Layer(48, 24), nn.Linear(24, 5)), torch.randn(64, 24), None),
    "encoder": lambda: (Encoder(width=24), torch.ones(4, ROWS, dtype=torch.int64), "layers.layers"),
    "decoder": lambda: (without_dropout(Decoder(width=24)), torch.ones(4, ROWS, dtype=torch.int64), "layers"),
    "decoder with dropout": lambda: (Decoder(width=24), torch.ones(4, ROWS, dtype=torch.int64), "layers"),
    "found blocks": lambda: (without_dropout(Decoder(width=24)), torch.ones(4, ROWS, dtype=torch.int64), "auto"),
    "masked": lambda: (nn.Sequential(*(MaskedAttention() for _ in range(3))), torch.randn(4, ROWS, 24), None),
    "residual net": lambda: (ResidualNet(), torch.randn(4, 3, 8, 8), "blocks"),
}


def loss(outputs):
    return outputs.square().mean()


def on(device, make):
    with torch.device(device):
        model, sample, blocks = make()
    return Model(model, (sample,), loss, blocks)


@pytest.mark.parametrize("name", MODELS)
def test_bytes_and_work_are_those_of_tensors_on_the_cpu(name):
    model = on("cpu", MODELS[name])
    expected = profile_model(model.module, model.sample, model.loss, model.blocks, TensorMeter())
    with torch.device("meta"):
        found = profile_on_meta(on("meta", MODELS[name]), "model.py")
    assert found.pop("notes") == [*expected.pop("notes"), NOTE]
    for row in (found, expected):
        seconds = [block.pop("seconds") for block in row["blocks"]]
        assert all(one is None for one in seconds) == (row is found)
        for told in ("fingerprint", "inputs"):  # they name the device
            del row[told]
    assert found == expected


def huge():
    """24 decoder layers of 805 MB of parameters each, whose activations take some GB each."""
    layers = (DecoderLayer(4096) for _ in range(24))
    return nn.Sequential(*layers), torch.empty(8, 2048, 4096), None


def test_a_model_of_tens_of_gigabytes_is_planned_and_takes_no_memory():
    plans = []

    def make_plan():
        with torch.device("meta"):
            profile = BlockProfile.from_row(profile_on_meta(on("meta", huge), "model.py"))
        smallest, plain = profile.budgets()
        assert plain > 100e9
        plans.append(profile.plan(budget_bytes=smallest + (plain - smallest) // 10))

    assert probes.resident_peak(make_plan)["resident_peak_bytes"] < 2**28
    (plan,) = plans
    assert plan.profile.parameters_bytes == 24 * 4 * (12 * 4096**2 + 13 * 4096)
    assert 1 < plan.work < 2
    # Where no time was taken, an operation of any block takes as long as one of any other.
    assert plan.best.slow_down == pytest.approx(1 + (plan.work - 1) / 3)


WIDE, ONE, FEW = (4, 4, ROWS, 8), (1, 4, ROWS, 8), (4, 2, ROWS, 8)


@pytest.mark.parametrize(
    ("shapes", "options"),
    [
        ((WIDE, WIDE, WIDE), {}),
        ((ONE, WIDE, WIDE), {}),
        ((WIDE, ONE, ONE), {}),
        ((WIDE, FEW, FEW), {"enable_gqa": True}),
        ((WIDE, (4, 1, ROWS, 8), (4, 1, ROWS, 8)), {}),
        ((WIDE[1:], WIDE[1:], WIDE[1:]), {}),
    ],
)
def test_attention_has_the_shape_and_the_bytes_of_the_cpus_whatever_it_broadcasts(shapes, options):
    def step_on(device):
        parts = [torch.zeros(shape, device=device, requires_grad=True) for shape in shapes]
        attended = functional.scaled_dot_product_attention(*parts, **options)
        found.append(attended.shape)
        attended.sum().backward()

    found = []
    peaks = [TensorMeter().peaks(lambda: step_on("cpu"))]
    with _attention_in_one_kernel():
        peaks.append(TensorMeter().peaks(lambda: step_on("meta")))
    assert found[0] == found[1]
    assert peaks[0] == peaks[1]


def test_attention_is_left_as_it_was():
    x = torch.empty(1, 2, 64, 8, device="meta", requires_grad=True)

    def kept():
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: shapes.append(tensor.shape) or tensor, id):
            functional.scaled_dot_product_attention(x, x, x)
        return (1, 2, 64, 64) in shapes or (2, 64, 64) in shapes

    shapes = []
    before = kept()
    with torch.device("meta"):
        profile_on_meta(on("meta", MODELS["decoder"]), "model.py")
    shapes.clear()
    assert kept() == before
