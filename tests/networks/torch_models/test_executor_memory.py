"""What a schedule does not hold is freed, at once and without the garbage collector: looked up by storage."""

import gc
import weakref

import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from tests.support.torch_chains import SCHEDULES, Calling, Chained, nothing

DEPTH = 6


class Powers(nn.Module):
    """Saves its input and its square; `squares` are those of each run."""

    def __init__(self):
        super().__init__()
        self.squares, self.at_delta = [], lambda: None

    def forward(self, x):
        square = x * x
        self.squares.append(StorageWeakRef(square.untyped_storage()))
        if len(self.squares) == 1:
            square.register_hook(lambda delta: self.at_delta())
        return square.sin()


def test_each_tensor_of_a_tape_goes_when_its_operation_is_done():
    stage, seen = Powers(), []
    (output,) = Chained(stage, Calling(lambda self, x: x.sum()))(X.clone().requires_grad_(), keep=nothing(2))
    stage.at_delta = lambda: seen.append(all(square.expired() for square in stage.squares))
    output.backward()
    assert seen == [True]


class Watched(nn.Module):
    """A block whose output and whose one saved tensor are its own: `inside` and `outputs` have those of each run."""

    def __init__(self):
        super().__init__()
        self.scale, self.inside, self.outputs = nn.Parameter(torch.ones(3)), [], []
        self.at_run = self.at_delta = lambda: None

    def forward(self, x):
        if not self.outputs and x.requires_grad:
            x.register_hook(lambda delta: self.at_delta())
        self.at_run()
        inside = x * 2  # saves nothing, because 2 is no tensor
        output = inside * self.scale + 1  # saves `inside` and the scale
        self.inside.append(StorageWeakRef(inside.untyped_storage()))
        self.outputs.append(StorageWeakRef(output.untyped_storage()))
        return output


@pytest.fixture(autouse=True)
def _without_the_collector():
    gc.disable()
    yield
    gc.enable()


def chain():
    return Chained(*(Watched() for _ in range(DEPTH)), Calling(lambda self, x: x.sum()))


X = torch.linspace(0, 1, 12).reshape(4, 3)


def alive(model):
    """Numbers of the blocks of which an output is alive, and of those of which what they saved is."""
    stages = [*enumerate(model.stages, 1)][:DEPTH]
    outputs = [number for number, stage in stages if any(not ref.expired() for ref in stage.outputs)]
    return outputs, [number for number, stage in stages if any(not ref.expired() for ref in stage.inside)]


HELD = {
    "nothing": ([], nothing(7)),
    "outputs 2 and 4": ([2, 4], lambda cached, start, stop: {*cached, 4, 8}),
    "tapes 2, 4 and 5": ([], lambda cached, start, stop: {*cached, 3, 7, 9}),
    "output 1, tapes 3": ([1], lambda cached, start, stop: {*cached, 2, 5}),
}
TAPES = {"nothing": [], "outputs 2 and 4": [], "tapes 2, 4 and 5": [2, 4, 5], "output 1, tapes 3": [3]}


@pytest.mark.parametrize("held", HELD)
def test_after_the_forward_pass_only_what_is_held_is_alive(held):
    model = chain()
    outputs, keep = HELD[held]
    (output,) = model(X, keep=keep)
    assert alive(model) == (outputs, TAPES[held])
    assert output.requires_grad


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("ends", ["backward", "dropped", "dropped within"])
def test_nothing_is_alive_at_the_end(schedule, ends):
    model = chain()
    (output,) = model(X, keep=SCHEDULES[schedule](7))
    if ends == "backward":
        output.backward()
    if ends == "dropped within":
        torch.autograd.grad(output, model.stages[3].scale, retain_graph=True)
    if ends != "backward":
        del output
    assert alive(model) == ([], [])


def test_the_first_border_goes_with_the_backward_pass_though_the_loss_stays():
    model, x = chain(), X + 1
    given = StorageWeakRef(x.untyped_storage())
    (output,) = model(x, keep=nothing(7))
    del x
    assert not given.expired()
    output.backward()
    assert given.expired()
    assert output.grad_fn is not None


def test_no_cycle_and_no_hook_keeps_a_step_alive():
    """Only the step holds the schedule."""
    model, keep = chain(), SCHEDULES["reruns keep"](7)
    schedule = weakref.ref(keep)
    (output,) = model(X, keep=keep)
    del keep
    assert schedule() is not None
    output.backward()
    del output
    assert schedule() is None


def backward_pass(model, keep):
    """What is alive when a block is run in the backward pass, and when the delta at x[l] is there, in order."""
    seen = []
    (output,) = model(X, keep=keep)
    for number, stage in enumerate([*model.stages][:DEPTH], 1):
        stage.at_run = lambda number=number: seen.append(("run", number, *alive(model)))
        stage.at_delta = lambda number=number: seen.append(("delta", number - 1, *alive(model)))
    output.backward()
    return seen


def test_what_is_alive_at_each_run_of_a_forward_pass():
    """The input of the block, and what is held: output 1 and the tapes 2, 5 and 6. No block saves its input."""
    model, seen = chain(), []
    for number, stage in enumerate([*model.stages][:DEPTH], 1):
        stage.at_run = lambda number=number: seen.append((number, *alive(model)))
    model(X, keep=lambda cached, start, stop: {*cached, 2, 3, 9, 11})
    assert seen == [
        (1, [], []),
        (2, [1], []),
        (3, [1, 2], [2]),
        (4, [1, 3], [2]),
        (5, [1, 4], [2]),
        (6, [1, 5], [2, 5]),
    ]


def test_what_is_alive_at_each_moment_of_a_backward_pass():
    """Outputs 2, 4 and 5 are held. The run for block 4 holds tape 3, and output 3, which nobody will want.

    A tape is gone when the delta below its block is there, and so are all outputs from that delta's own on.
    """

    def keep(cached, start, stop):
        return {0, 4, 8, 10} if stop == 14 else {*cached, 5, 6} if stop == 7 else {*cached}

    assert backward_pass(chain(), keep) == [
        ("run", 6, [2, 4, 5], []),
        ("delta", 5, [2, 4], []),
        ("run", 5, [2, 4], []),
        ("delta", 4, [2], []),
        ("run", 3, [2], []),
        ("run", 4, [2, 3], [3]),
        ("delta", 3, [2], [3]),
        ("delta", 2, [], []),
        ("run", 1, [], []),
        ("run", 2, [1], []),
        ("delta", 1, [], []),
        ("run", 1, [], []),
    ]
