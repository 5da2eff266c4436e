"""What users do with autograd's graph works on a planned model as on its model, to the bit."""

import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from networks.torch_models.planned_model import planned
from tests.support.planned_models import measured_plan
from tests.support.torch_chains import assert_same_bits, gradients, mean_square

X = torch.randn(3, 4)


class Smooth(nn.Module):
    """Has derivatives of all orders. Its first and last operations are in no block of the list."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.LayerNorm(4), nn.Dropout(0.1)) for _ in range(4)
        )
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = x.exp()
        for layer in self.layers:
            x = layer(x)
        return self.head(x).sin()


def of_the_input(model, x):
    return torch.autograd.grad(loss_of(model(x)), x)


def of_some_and_then_of_all(model, x):
    loss = loss_of(model(x))
    first = torch.autograd.grad(loss, model.layers[2][0].weight, retain_graph=True)
    return *first, *torch.autograd.grad(loss, list(model.parameters()))


def twice_through_one_graph(model, x):
    loss = loss_of(model(x))
    loss.backward(retain_graph=True)
    loss.backward()
    return x.grad, *gradients(model)


def of_two_calls_at_once(model, x):
    (loss_of(model(x)) + loss_of(model(x * 2))).backward()
    return x.grad, *gradients(model)


def penalty(model, x):
    """The gradient of the norm of a gradient, by the input and by the weights."""
    loss = loss_of(model(x))
    (slope,) = torch.autograd.grad(loss, x, create_graph=True)
    (loss + slope.norm()).backward()
    return x.grad, *gradients(model)


def loss_of(output):
    return mean_square([output])


USES = (of_the_input, of_some_and_then_of_all, twice_through_one_graph, of_two_calls_at_once, penalty)


@pytest.fixture(scope="module", params=["layers", "auto"])
def smooth(request):
    """A model and a plan that reruns most of it."""
    torch.manual_seed(0)
    model = Smooth()
    plan = measured_plan(model, (X.clone().requires_grad_(),), request.param, share=0)
    assert plan.work > 1.2
    return model, plan


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_derivatives_are_those_of_the_model(smooth, use):
    model, plan = smooth
    results = []
    for run in (copy.deepcopy(model), planned(copy.deepcopy(model), plan)):
        torch.manual_seed(1)
        seen = use(run, X.clone().requires_grad_())
        results.append([*(tensor.detach() for tensor in seen), torch.get_rng_state()])
    assert_same_bits(*results)


@pytest.mark.parametrize("calls_before", [0, 1])
def test_transforms_of_functions_are_refused(smooth, calls_before):
    under = planned(*smooth)
    for _ in range(calls_before):
        under(X.clone().requires_grad_())
    with pytest.raises(RuntimeError, match=r"torch\.func\.grad, .* give them the plain model"):
        torch.func.grad(lambda x: loss_of(under(x)))(X.clone().requires_grad_())


def test_cutting_a_model_runs_no_hooks_of_its_gradients(smooth):
    under = planned(*smooth)
    called = []
    hooks = [p.register_post_accumulate_grad_hook(called.append) for p in under.parameters()]
    loss = loss_of(under(X.clone().requires_grad_()))
    assert not called
    loss.backward()
    for hook in hooks:
        hook.remove()
    assert len(called) == len(hooks)


def test_parameters_that_are_given_for_a_call_are_those_of_its_reruns(smooth):
    model, plan = copy.deepcopy(smooth)
    own = dict(model.named_parameters())
    other = {name: (value.detach() * 2).requires_grad_() for name, value in own.items()}
    results = []
    for run in (model, planned(model, plan)):
        run(X.clone().requires_grad_())
        torch.manual_seed(1)
        output = torch.func.functional_call(run, other, X.clone().requires_grad_())
        results.append([output, *torch.autograd.grad(loss_of(output), list(other.values()))])
        assert all(own[name] is value for name, value in run.named_parameters())
    assert_same_bits(*results)


@pytest.mark.filterwarnings("default")  # PyTorch's compiler warns of itself
def test_compiled_members_train_as_without_a_plan():
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = Smooth()
    for number in (1, 2):
        model.layers[number].compile(backend="aot_eager")
    model.layers[3] = torch.compile(model.layers[3], backend="aot_eager")
    plan = measured_plan(model, (X,), "layers", share=0)
    assert [block.name for block in plan.profile.blocks][4:] == ["layers.1", "layers.2", "layers.3"]
    assert plan.work > 1.2
    results = []
    for run in (model, planned(model, plan)):
        torch.manual_seed(1)
        model.zero_grad()
        loss_of(run(X)).backward()
        results.append(gradients(model))
    assert_same_bits(*results)
    torch._dynamo.reset()
