"""Compiled blocks run again as they first ran; a compiled model breaks its graph at the executor."""

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from harness.provenance import ROOT
from tests.support.torch_chains import (
    SCHEDULES,
    Chained,
    assert_same_bits,
    backward,
    gradients,
    mean_square,
    nothing,
    trained,
)

pytestmark = pytest.mark.filterwarnings("default")  # PyTorch's compiler warns of itself

MOST = {
    name: SCHEDULES[name] for name in ("nothing held", "revolve(slots=2)", "reruns keep", "chance, half", "plain()")
}


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm, self.dropout = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.2)

    def forward(self, x):
        return self.dropout(torch.tanh(self.norm(self.linear(x))))


def layers(depth=6):
    torch.manual_seed(0)
    return Chained(*(Layer() for _ in range(depth)), nn.Linear(4, 2)), (torch.randn(6, 4),)


@pytest.fixture
def compiled():
    """The model of `layers` with its blocks compiled, by a compiler that changes no bits."""
    torch._dynamo.reset()
    model, inputs = layers()
    for stage in model.stages[:-1]:
        stage.compile(backend="aot_eager")
    yield model, inputs
    torch._dynamo.reset()


def autocast(model, inputs, keep):
    with torch.autocast("cpu", torch.bfloat16):
        loss = mean_square(model(*inputs, keep=keep))
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize(("update", "more"), [(backward, 2), (autocast, 4)])
def test_compiled_blocks_train_as_without_a_schedule(compiled, update, more):
    """`more` graphs are made: of the two kinds of blocks without gradients, and where autocast caches no casts."""
    model, inputs = compiled
    start = {name: value.clone() for name, value in model.state_dict().items()}
    expected = trained(model, inputs, update=update)
    torch._dynamo.utils.counters.clear()
    for keep in MOST.values():
        model.load_state_dict(start)
        assert_same_bits(trained(model, inputs, keep(7), update=update), expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= more


def test_a_block_compiled_anew_between_the_passes_is_an_error_that_names_the_limit(compiled):
    model, inputs = compiled
    loss = mean_square(model(*inputs, keep=nothing(7)))
    for stage in model.stages:
        stage._compiled_call_impl = None  # as dynamo does when a block has reached its limit
    with pytest.raises(RuntimeError, match=r"block stage 6 saved .*torch\._dynamo\.config\.recompile_limit"):
        loss.backward()


@pytest.mark.parametrize("around", ["forward", "both passes"])
def test_a_compiled_model_trains_as_before(around):
    torch._dynamo.reset()
    model, inputs = layers()
    for stage in model.stages[:-1]:
        stage.dropout.p = 0.0

    def forward(x, keep):
        return mean_square(model(x * 2, keep=keep)) * 3

    def both(x, keep):
        loss = forward(x, keep)
        loss.backward()
        return loss

    forward(*inputs, None).backward()
    expected = gradients(model)
    compiled = torch.compile(forward if around == "forward" else both, backend="aot_eager")
    for _ in range(2):
        model.zero_grad()
        loss = compiled(*inputs, SCHEDULES["reruns keep"](7))
        if around == "forward":
            loss.backward()
        assert_same_bits(gradients(model), expected)


def test_the_compiler_is_not_imported_where_nobody_compiles():
    code = """
import sys, torch
from networks.torch_models.executor import Facts, execute
weight = torch.ones(2, 2, requires_grad=True)
blocks = [lambda border: ((border[0] @ weight).sin(),)] * 3
execute(blocks, [Facts("a")] * 3, lambda cached, start, stop: {0}, (torch.ones(1, 2),))[0].sum().backward()
sys.exit("torch._dynamo" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
