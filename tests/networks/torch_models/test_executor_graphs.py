"""What users do with autograd's graph works on a chain as on a plain model, to the bit."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from tests.support.torch_chains import SCHEDULES, Calling, Chained, assert_same_bits, gradients, mean_square, nothing

MOST = {
    name: SCHEDULES[name] for name in ("nothing held", "revolve(slots=2)", "reruns keep", "chance, half", "plain()")
}


def smooth():
    torch.manual_seed(0)
    layers = (nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.LayerNorm(4), nn.Dropout(0.1)) for _ in range(6))
    residual = Calling(lambda self, x: x + torch.sin(self.inner(x)) * x.exp(), inner=nn.Linear(4, 4))
    return Chained(*layers, residual, nn.Linear(4, 2)), (torch.randn(3, 4),)


def of_the_input(model, x, keep):
    return torch.autograd.grad(mean_square(model(x, keep=keep)), x)


def of_some_parameters(model, x, keep):
    some = [model.stages[5][0].weight, model.stages[2][2].bias]
    return torch.autograd.grad(mean_square(model(x, keep=keep)), some)


def of_some_and_then_of_all(model, x, keep):
    loss = mean_square(model(x, keep=keep))
    first = torch.autograd.grad(loss, model.stages[4][0].weight, retain_graph=True)
    return *first, *torch.autograd.grad(loss, list(model.parameters()))


def of_several_losses(model, x, keep):
    (output,) = model(x, keep=keep)
    return [row for column in range(2) for row in torch.autograd.grad(output[:, column].sum(), x, retain_graph=True)]


def many_at_once(model, x, keep):
    """The backward pass runs under vmap, and so do the reruns; PyTorch refuses dropout there."""
    model.eval()
    (output,) = model(x, keep=keep)
    ones = torch.eye(2)[:, None, :].expand(2, *output.shape)
    return torch.autograd.grad(output, x, ones, is_grads_batched=True)


def penalty(model, x, keep):
    """The gradient of the norm of a gradient, by the input and by the weights."""
    loss = mean_square(model(x, keep=keep))
    (slope,) = torch.autograd.grad(loss, x, create_graph=True)
    (loss + slope.norm()).backward()
    return x.grad, *gradients(model)


def product_with_the_hessian(model, x, keep):
    weights = list(model.parameters())
    slopes = torch.autograd.grad(mean_square(model(x, keep=keep)), weights, create_graph=True)
    return torch.autograd.grad(sum((slope * slope.detach()).sum() for slope in slopes), weights)


def third_derivative(model, x, keep):
    (output,) = model(x, keep=keep)
    for _ in range(3):
        (output,) = torch.autograd.grad(output.sin().sum(), x, create_graph=True)
    return (output,)


def hessian(model, x, keep):
    return [torch.autograd.functional.hessian(lambda x: mean_square(model(x, keep=keep)), x)]


USES = (
    *(of_the_input, of_some_parameters, of_some_and_then_of_all, of_several_losses, many_at_once, penalty),
    *(product_with_the_hessian, third_derivative, hessian),
)


@pytest.mark.parametrize("schedule", MOST)
@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_derivatives_are_those_of_plain_autograd(use, schedule):
    results = []
    for keep in (MOST[schedule](8), None):
        model, (x,) = smooth()
        results.append([tensor.detach() for tensor in use(model, x.requires_grad_(), keep)])
    assert_same_bits(*results)


def test_numerical_differences_agree():
    model, (x,) = smooth()
    model.double().eval()
    run = lambda x: model(x, keep=MOST["revolve(slots=2)"](8))[0]  # noqa: E731
    assert torch.autograd.gradcheck(run, x.double().requires_grad_(), nondet_tol=0)
    assert torch.autograd.gradgradcheck(run, x.double().requires_grad_(), nondet_tol=0)


@pytest.mark.parametrize("schedule", MOST)
def test_hooks_of_tensors_and_parameters_see_the_same(schedule):
    def seen(keep):
        model, inputs = smooth()
        gradients = []
        for parameter in model.parameters():
            parameter.register_hook(lambda gradient: gradients.append(gradient.clone()) or gradient * 2)
        (output,) = model(*inputs, keep=keep)
        output.register_hook(lambda gradient: gradients.append(gradient.clone()))
        mean_square([output]).backward()
        return [*gradients, *(parameter.grad for parameter in model.parameters())]

    assert_same_bits(seen(MOST[schedule](8)), seen(None))


def test_backward_hooks_of_modules_fire_once():
    def seen(keep):
        model, inputs = smooth()
        deltas = []
        for stage in model.stages[1:]:  # nobody needs a gradient at the input of the first
            stage.register_full_backward_hook(lambda module, at_input, at_output: deltas.extend(at_output))
        mean_square(model(*inputs, keep=keep)).backward()
        return [*deltas, *gradients(model)]

    for keep in MOST.values():
        assert_same_bits(seen(keep(8)), seen(None))


def test_forward_hooks_of_modules_fire_again_in_each_rerun():
    """In the last rerun of a block, a hook fires only where autograd still saves something after it."""
    model, inputs = smooth()
    before, after = [], []
    for number, stage in enumerate(model.stages, 1):
        stage.register_forward_pre_hook(lambda *call, number=number: before.append(number))
        stage.register_forward_hook(lambda *call, number=number: after.append(number))
    mean_square(model(*inputs, keep=nothing(8))).backward()
    assert before == model.calls == [*range(1, 9), *(n for last in range(7, 0, -1) for n in range(1, last + 1))]
    assert after == [*range(1, 9), *(n for last in range(7, 0, -1) for n in range(1, last))]


def test_a_border_that_is_a_parameter_keeps_no_hook():
    """A hook on a leaf would stay for ever, and hold all steps alive."""
    torch.manual_seed(0)
    first = Calling(lambda self, x: (torch.tanh(self.inner(x)), self.inner.weight), inner=nn.Linear(4, 4))
    model = Chained(first, Calling(lambda self, x, w: (x @ w).sin()), Calling(lambda self, x: x.exp()))
    mean_square(model(torch.ones(2, 4), keep=nothing(3))).backward()
    assert not first.inner.weight._backward_hooks


def test_a_loss_on_what_a_hook_saw_inside():
    """Auxiliary losses read what is inside a block of the first run, which is in the graph."""

    def trained(keep):
        model, inputs = smooth()
        kept = []
        hook = model.stages[3][1].register_forward_hook(lambda module, given, output: kept.append(output))
        loss = mean_square(model(*inputs, keep=keep))
        hook.remove()
        (loss + kept[0].square().sum()).backward()
        return gradients(model)

    for keep in MOST.values():
        assert_same_bits(trained(keep(8)), trained(None))


def test_saved_tensor_hooks_around_a_chain_still_serve_the_taped_blocks():
    model, inputs = smooth()
    state = torch.get_rng_state()
    mean_square(model(*inputs)).backward()
    expected = gradients(model)
    model.zero_grad()
    torch.set_rng_state(state)
    with torch.autograd.graph.save_on_cpu():
        loss = mean_square(model(*inputs, keep=MOST["chance, half"](8)))
    loss.backward()
    assert_same_bits(gradients(model), expected)


def test_a_graph_that_is_gone_is_autograds_own_error():
    model, inputs = smooth()
    loss = mean_square(model(*inputs, keep=nothing(8)))
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()
