"""A profile predicts what its meter counts: by memray on the CPU in slow tests, and here by the bytes of tensors."""

import copy
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.nn import functional

from harness.execute.models import profile_blocks
from harness.worker.models.meters import TensorMeter
from harness.worker.models.own_step import freeing
from harness.worker.models.profile import profile_model
from networks.planning.own_models import BlockProfile
from networks.torch_models import planned

WIDTH, BATCH = 32, 2048
SIDE, ROWS = 128, 384
"""Of models whose gradients weigh about as much as what their blocks make."""


class Layer(nn.Module):
    def __init__(self, inputs=WIDTH, outputs=WIDTH):
        super().__init__()
        self.linear, self.norm = nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs)

    def forward(self, x):
        return functional.dropout(torch.relu(self.norm(self.linear(x))), 0.1)


class Embedded(nn.Module):
    """What runs before the blocks has parameters and a tape, and so has what runs after them."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(100, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(6))
        self.head = nn.Linear(WIDTH, 200)

    def forward(self, tokens):
        x = torch.tanh(self.embedding(tokens))
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def sequential():
    widths = [WIDTH, 2 * WIDTH, *[WIDTH] * 6]
    layers = [Layer(*pair) for pair in pairwise(widths)]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10)), torch.randn(BATCH, WIDTH), None, 10


def embedded():
    return Embedded(), torch.randint(0, 100, (BATCH,)), "layers", 200


class First(nn.Module):
    """Makes two tensors, of which the second is for all blocks."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        y = self.linear(x)
        return y, torch.exp(-y.square())


class Reading(nn.Module):
    """Reads the memory, passes it on, and makes a skip for the last block."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x, memory, *skips):
        return torch.tanh(self.linear(x) * memory), memory, *skips, torch.sigmoid(x)


class Joined(nn.Module):
    """Joins the skips, so the delta at each is a view of that of all."""

    def forward(self, x, memory, *skips):
        return torch.cat((x, *skips), 1)


class Passing(nn.Module):
    """Borders of several tensors."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([First(), *(Reading() for _ in range(5)), Joined()])

    def forward(self, x):
        border = (x,)
        for block in self.blocks[:-1]:
            border = block(*border)
        return self.blocks[-1](*border)


def passing():
    model = Passing()
    return model, torch.randn(BATCH, WIDTH), list(model.blocks), 6 * WIDTH


def needing_a_gradient():
    model, x, cut, classes = sequential()
    return model, x.requires_grad_(), cut, classes


def without_autocast():
    return nullcontext()


def in_half_precision():
    return torch.autocast("cpu", torch.bfloat16)


class Recurrent(nn.Module):
    """Its blocks are six uses of one wide cell."""

    def __init__(self):
        super().__init__()
        self.cell = nn.Sequential(nn.Linear(SIDE, SIDE), nn.Tanh(), nn.Linear(SIDE, SIDE), nn.Tanh())
        self.head = nn.Linear(SIDE, 10)

    def forward(self, x):
        for _ in range(6):
            x = self.cell(x)
        return self.head(x)


def recurrent():
    model = Recurrent()
    return model, torch.randn(ROWS, SIDE), [*[model.cell] * 6, model.head], 10


class Wide(nn.Module):
    """Has a weight of its own, and one that may be another's too."""

    def __init__(self, weight=None):
        super().__init__()
        self.linear = nn.Linear(SIDE, SIDE)
        self.weight = nn.Parameter(torch.randn(SIDE, SIDE) / SIDE) if weight is None else weight

    def forward(self, x):
        return torch.tanh(functional.linear(torch.tanh(self.linear(x)), self.weight))


class Tied(nn.Module):
    """Six blocks. Their weights are also used by blocks and code that `ties` names: 0 is before, 7 after the blocks."""

    def __init__(self, *ties):
        super().__init__()
        weights = {}
        for tie in ties:
            weight = nn.Parameter(torch.randn(SIDE, SIDE) / SIDE)
            weights |= dict.fromkeys(tie, weight)
        self.before, self.after = Wide(weights.get(0)), Wide(weights.get(7))
        self.layers = nn.ModuleList(Wide(weights.get(number)) for number in range(1, 7))

    def forward(self, x):
        x = self.before(x)
        for layer in self.layers:
            x = layer(x)
        return self.after(x)


def tied(*ties):
    return lambda: (Tied(*ties), torch.randn(ROWS, SIDE), "layers", SIDE)


MODELS = {
    "sequential": sequential,
    "embedded": embedded,
    "passing": passing,
    "needing a gradient": needing_a_gradient,
    "recurrent": recurrent,
    "two blocks": tied((2, 5)),
    "crossing": tied((2, 5), (3, 4, 6)),
    "block and head": tied((3, 7)),
    "start and block": tied((0, 3)),
    "start, block and head": tied((0, 3, 7)),
}


CASES = [
    *[(name, without_autocast) for name in MODELS],
    *[(name, in_half_precision) for name in ("sequential", "embedded", "passing")],
]


@pytest.mark.parametrize(("name", "autocast"), CASES)
@pytest.mark.parametrize("gradients", ["kept", "freed"])
def test_plans_take_what_they_predict(name, autocast, gradients):
    torch.manual_seed(0)
    model, x, cut, classes = MODELS[name]()
    y = torch.randint(0, classes, (len(x),))
    meter = TensorMeter()

    def loss(outputs):
        return functional.cross_entropy(outputs, y)

    with autocast():
        profile = BlockProfile.from_row(profile_model(model, (x,), loss, cut, meter))
    plain = profile.plan(budget_bytes=10**9, gradients=gradients)
    smallest = plain.smallest_budget_bytes
    for share in (0, 0.2, 0.4, 0.6, 0.8, 1):
        budget = smallest + int(share * max(0, plain.predicted_peak_bytes - smallest)) + 1
        plan = profile.plan(budget_bytes=budget, gradients=gradients)
        under = planned(model, plan, blocks=cut if isinstance(cut, list) else None)

        def step(under=under):
            model.zero_grad(set_to_none=True)
            with autocast():
                output = under(x)
                value = loss(output)
            value.backward()

        step()
        if gradients == "freed":
            with freeing(model):
                counted = meter.peaks(step)["peak_bytes"]
        else:
            model.zero_grad(set_to_none=True)
            counted = meter.peaks(step)["peak_bytes"]
        model.zero_grad(set_to_none=True)
        assert counted <= budget
        assert counted == pytest.approx(plan.predicted_peak_bytes, rel=0.005)


class Attention(nn.Module):
    def forward(self, x):
        return functional.scaled_dot_product_attention(x, x, x)


def test_the_work_of_attention_is_that_of_its_products():
    batch, heads, length, width = 3, 2, 40, 8
    x = torch.randn(batch, heads, length, width, requires_grad=True)
    model = nn.Sequential(Attention(), Attention())

    def work():
        row = profile_model(model, (x,), torch.sum, None, TensorMeter())
        return [block["forward_flops"] for block in row["blocks"]]

    assert work() == [2 * 2 * batch * heads * length * length * width] * 2
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        assert work() == [2 * 2 * batch * heads * length * length * width] * 2


def stack(depth):
    torch.manual_seed(0)
    model = nn.Sequential(*(Layer() for _ in range(depth)), nn.Linear(WIDTH, 10))
    x, y = torch.randn(BATCH, WIDTH), torch.randint(0, 10, (BATCH,))
    row = profile_model(model, (x,), lambda outputs: functional.cross_entropy(outputs, y), None, TensorMeter())
    return BlockProfile.from_row(row)


def test_a_block_that_stands_many_times_is_as_if_all_were_profiled():
    repeated, whole = stack(3).repeated("1", 9), stack(11)
    assert (repeated.parameters_bytes, repeated.trained_bytes) == (whole.parameters_bytes, whole.trained_bytes)
    for gradients in ("kept", "freed"):
        one, other = (profile.chain(gradients) for profile in (repeated, whole))
        same = [replace(block, name="") for block in one.blocks]
        assert replace(one, blocks=same) == replace(other, blocks=[replace(block, name="") for block in other.blocks])


class Counting(Embedded):
    """Takes its input from a dict, and counts its calls."""

    calls = 0

    def forward(self, named):
        self.calls += 1
        return super().forward(named["tokens"])


def test_a_model_that_changes_its_attributes_is_that_of_its_profile():
    model, inputs = Counting(), ({"tokens": torch.randint(0, 100, (BATCH,))},)
    row = profile_model(copy.deepcopy(model), inputs, torch.sum, "layers", TensorMeter())
    assert row["data_bytes"] == 8 * BATCH
    plan = BlockProfile.from_row(row).plan(budget_bytes=10**9)
    assert planned(model, plan)(*inputs).shape == (BATCH, 200)


def test_a_model_in_memory_is_profiled_under_the_autocast_that_is_on():
    model, x = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(4))), torch.randn(BATCH, WIDTH)
    with in_half_precision():
        profile = profile_blocks(model, x, loss=torch.sum)
    assert profile.autocast == "cpu torch.bfloat16"
    assert {block.made_bytes for block in profile.blocks} == {(2 * BATCH * WIDTH,)}
    under = planned(model, profile.plan(budget_bytes=profile.budgets()[0]))
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"step under autocast \(cpu torch.bfloat16\), and this one is without autoc"
        ):
            under(x)
        with torch.autocast("cpu", torch.float16), pytest.raises(ValueError, match=r"one is under autocast .*float16"):
            under(x)
        with in_half_precision():
            under(x).sum().backward()
    assert profile_blocks(model, x, loss=torch.sum).autocast is None


def test_a_profile_tells_what_blocks_draw_and_write():
    model, x, cut, _ = embedded()
    row = profile_model(model, (x,), lambda outputs: outputs.square().mean(), cut, TensorMeter())
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for number, block in enumerate(row["blocks"]):
        assert block["random"]
        assert block["buffers"] == [f"layers.{number}.norm.{each}" for each in statistics]
        assert block["forward_flops"] == 2 * BATCH * WIDTH * WIDTH
        assert block["made_bytes"] == [4 * BATCH * WIDTH]
        assert block["gradient_bytes"] == 4 * (WIDTH * WIDTH + 3 * WIDTH)
    assert row["parameters_bytes"] == sum(parameter.nbytes for parameter in model.parameters())
    assert (row["cut"], row["threads"]) == ("layers", 1)


@pytest.mark.parametrize("last", [nn.Identity(), nn.Linear(WIDTH, 4 * WIDTH)], ids=["of the last block", "of a head"])
@pytest.mark.parametrize("loss", [torch.sum, lambda outputs: outputs.square().sum()], ids=["not saved", "saved"])
def test_a_step_may_hold_the_models_output_to_its_end(last, loss):
    class WithHead(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.last = nn.ModuleList(Layer() for _ in range(4)), last

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return self.last(x)

    torch.manual_seed(0)
    model, x, meter = WithHead(), torch.randn(BATCH, WIDTH), TensorMeter()
    profile = BlockProfile.from_row(profile_model(model, (x,), loss, "layers", meter))
    under = planned(model, profile.plan(budget_bytes=profile.budgets()[0]))

    def step():
        output = under(x)
        loss(output).backward()

    step()
    model.zero_grad(set_to_none=True)
    assert meter.peaks(step)["peak_bytes"] == pytest.approx(profile.budgets()[0] - profile.allowance_bytes, rel=0.005)
