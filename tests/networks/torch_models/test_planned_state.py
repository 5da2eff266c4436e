"""A planned model and its model are one: hooks run once, and an attribute that is set on either is that of both."""

import copy
import gc
import pickle
import weakref

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from networks.torch_models.blocks import blocks_of
from networks.torch_models.planned_model import planned
from tests.support.planned_models import measured_plan
from tests.support.torch_chains import assert_same_bits, gradients, mean_square


class Scaled(nn.Module):
    """Reads an attribute of its own, and has a weight that is no layer's."""

    def __init__(self, depth=5, width=6):
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(depth))
        self.weight = nn.Parameter(torch.ones(width))
        self.scale, self.calls = 2.0, 0

    def forward(self, x):
        self.calls += 1
        for layer in self.layers:
            x = layer(x)
        return x * self.weight * self.scale


class Steady(Scaled):
    """Changes no attribute, so its graph can be cut."""

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x * self.weight * self.scale


def a_path():
    return Scaled(), "layers"


def of_a_graph():
    return Steady(), "auto"


def children():
    return nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(6, 6), nn.Tanh()))), None


def callables():
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh())
    return model, list(model)


def the_whole():
    return nn.Linear(6, 6), "auto"


WAYS = (a_path, of_a_graph, children, callables, the_whole)


def under_a_plan(model, cut, x=None):
    plan = measured_plan(model, (X if x is None else x,), cut)
    return planned(model, plan, cut if isinstance(cut, list) else None)


X = torch.randn(4, 6)
# Nobody takes the deltas of X.
UNUSED = pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")


def with_hooks(model):
    seen = []
    model.register_forward_pre_hook(lambda module, given: (given[0] * 2,))
    model.register_forward_hook(lambda module, given, output: output + 1)
    model.register_full_backward_pre_hook(lambda module, deltas: (deltas[0] * 3,))
    model.register_full_backward_hook(lambda module, at_input, at_output: seen.append(at_output[0].clone()))
    return seen


@UNUSED
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_hooks_of_the_model_run_once_a_call(way):
    model, cut = way()
    x = X.clone().requires_grad_()
    seen = with_hooks(model)
    under = under_a_plan(model, cut, x)
    results = []
    for run in (model, under):
        seen.clear()
        model.zero_grad()
        x.grad = None
        output = run(x)
        mean_square([output]).backward()
        assert len(seen) == 1
        results.append([output, x.grad, *gradients(model), *seen, run.eval()(x)])
        run.train()
    assert_same_bits(*results)


@UNUSED
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_hooks_that_come_with_the_planned_model_run_once_too(way):
    model, cut = way()
    under = under_a_plan(model, cut)
    seen = with_hooks(under)
    output = under(X)
    mean_square([output]).backward()
    assert len(seen) == 1
    assert_same_bits([output], [model(X)])


def test_a_hook_may_change_the_shape_and_the_type_that_the_profile_is_of():
    model = Scaled().double()
    model.register_forward_pre_hook(lambda module, given: (given[0].reshape(8, 6).double(),))
    x = torch.randn(2, 4, 6)
    under = planned(model, measured_plan(model, (x,), "layers"))
    assert_same_bits([under(x)], [model(x)])
    assert blocks_of(model, x, "layers").before(x)[1][0].shape == (8, 6)


def test_an_attribute_that_is_set_on_one_is_that_of_both():
    model = Scaled()
    under = under_a_plan(model, "layers")
    calls = model.calls
    under(X)
    under.scale = 0.0
    assert not under(X).any()
    assert not under.eval()(X).any()
    assert not model.training
    assert not model(X).any()
    model.train().scale = 3.0
    assert_same_bits([under(X)], [model(X)])
    assert under.calls == model.calls == calls + 6
    under.weight = nn.Parameter(torch.zeros(6))
    assert not model(X).any()


def test_a_count_of_calls_is_no_setting_of_a_model():
    model = Scaled()
    under = under_a_plan(model, "layers")
    model.calls = 100
    assert_same_bits([under(X)], [model(X)])
    model.scale = 3.0
    with pytest.raises(ValueError, match="differs in its code, settings or shapes"):
        copy.copy(under)(X)


def test_a_graph_does_not_outlive_the_attributes_that_it_was_traced_with():
    model = Steady()
    under = under_a_plan(model, "auto")
    under(X)
    under.scale = 0.0
    with pytest.raises(RuntimeError, match=r"scale is 0\.0 and was 2\.0 when the blocks were found"):
        under(X)
    under.scale = 2.0
    assert_same_bits([under(X)], [model(X)])


def test_the_model_itself_runs_plainly():
    model = Scaled()
    under = under_a_plan(model, "layers")
    with pytest.raises(ValueError, match="the plan is for inputs"):
        under(X[:2])
    assert model(X[:2]).shape == (2, 6)
    assert type(model) is Scaled


def doubled(forward):
    return lambda *inputs: forward(*inputs) * 2


def test_a_forward_that_is_set_is_that_of_one_alone():
    """Libraries for mixed precision wrap the method of an instance."""
    model = Scaled()
    under = under_a_plan(model, "layers")
    expected = model(X)
    under.forward = doubled(under.forward)
    assert_same_bits([under(X), model(X)], [expected * 2, expected])
    del under.forward
    model.forward = doubled(model.forward)
    assert_same_bits([under(X), model(X)], [expected * 2] * 2)
    with pytest.raises(ValueError, match="the plan is for inputs"):
        under(X[:2])


def test_a_compiled_call_is_that_of_one_alone():
    model = Scaled()
    model.compile(backend="eager")
    under = under_a_plan(model, "layers")
    with pytest.raises(ValueError, match="the plan is for inputs"):
        under(X[:2])


def reloaded(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("copied", [copy.deepcopy, reloaded])
def test_a_copy_has_attributes_of_its_own(copied):
    under = under_a_plan(Scaled(), "layers")
    under(X)
    other = copied(under)
    assert_same_bits([other(X)], [under(X)])
    other.scale = 0.0
    assert under(X).any()
    assert not other(X).any()
    with pytest.raises(ValueError, match="the plan is for inputs"):
        other(X[:2])


def test_a_shallow_copy_shares_parameters_and_no_attributes():
    under = under_a_plan(Scaled(), "layers")
    other = copy.copy(under)
    other(X)
    other.scale = 0.0
    assert under(X).any()
    assert not other(X).any()
    assert other.weight is under.weight


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_it_is_in_no_cycle_that_would_keep_its_memory(way):
    model, cut = way()
    under = under_a_plan(model, cut)
    mean_square([under(X)]).backward()
    gone = [weakref.ref(model), weakref.ref(under), *map(weakref.ref, model.parameters())]
    gc.collect()
    gc.disable()
    try:
        del model, under, cut
        assert [each() for each in gone] == [None] * len(gone)
    finally:
        gc.enable()
