"""What training loops do around a chain: accumulation, clipping, autocast, updates in the backward pass."""

from functools import partial

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from tests.support.torch_chains import (
    SCHEDULES,
    Calling,
    Chained,
    assert_same_bits,
    assert_trains_as_plain,
    backward,
    by_chance,
    gradients,
    mean_square,
    mlp,
    nothing,
)

MOST = {
    name: SCHEDULES[name] for name in ("nothing held", "revolve(slots=2)", "reruns keep", "chance, half", "plain()")
}


def normed(depth=6):
    """Linear layers, batch-norm and dropout."""
    torch.manual_seed(0)
    layers = (
        nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(inplace=True), nn.Dropout(0.2)) for _ in range(depth)
    )
    return Chained(*layers, nn.Linear(6, 3)), (torch.randn(5, 6),)


def accumulated(model, inputs, keep):
    first = backward(model, inputs, keep)
    return first + backward(model, tuple(x.flip(0) * 2 for x in inputs), keep)


def clipped(model, inputs, keep):
    loss = backward(model, inputs, keep)
    return loss + nn.utils.clip_grad_norm_(model.parameters(), 0.05)


def autocast(model, inputs, keep):
    with torch.autocast("cpu", torch.bfloat16):
        loss = mean_square(model(*inputs, keep=keep))
    loss.backward()
    return loss.detach()


def autocast_around_all(model, inputs, keep):
    with torch.autocast("cpu", torch.bfloat16):
        return backward(model, inputs, keep)


def autocast_anew(model, inputs, keep):
    """The backward pass runs under an autocast of its own."""
    with torch.autocast("cpu", torch.bfloat16):
        loss = mean_square(model(*inputs, keep=keep))
    with torch.autocast("cpu", torch.bfloat16):
        loss.backward()
    return loss.detach()


def autocast_backward(model, inputs, keep):
    loss = mean_square(model(*inputs, keep=keep))
    with torch.autocast("cpu", torch.bfloat16):
        loss.backward()
    return loss.detach()


def forward_twice(model, inputs, keep, first=0):
    """Two forward passes before their backward passes, in either order."""
    losses = [mean_square(model(*inputs, keep=keep)), mean_square(model(*(x * 2 for x in inputs), keep=keep))]
    losses[first].backward()
    losses[1 - first].backward()
    return sum(losses).detach()


def forward_twice_crossed(model, inputs, keep):
    return forward_twice(model, inputs, keep, first=1)


def twice_in_one_graph(model, inputs, keep):
    outputs = model(*inputs, keep=keep)[0], model(*(x.cos() for x in inputs), keep=keep)[0]
    loss = (outputs[0] * outputs[1]).square().mean()
    loss.backward()
    return loss.detach()


def one_after_the_other(model, inputs, keep):
    """The output of one pass is the input of the next, on 3 of 6 features."""
    loss = mean_square(model(nn.functional.pad(model(*inputs, keep=keep)[0], (0, 3)), keep=keep))
    loss.backward()
    return loss.detach()


def backward_twice(model, inputs, keep):
    loss = mean_square(model(*inputs, keep=keep))
    loss.backward(retain_graph=True)
    (loss * loss).backward()
    return loss.detach()


UPDATES = (
    *(accumulated, clipped, autocast, autocast_around_all, autocast_anew, autocast_backward),
    *(forward_twice, forward_twice_crossed, twice_in_one_graph, one_after_the_other, backward_twice),
)


@pytest.mark.parametrize("schedule", MOST)
@pytest.mark.parametrize("update", UPDATES, ids=lambda update: update.__name__)
def test_what_loops_do_trains_as_plain_autograd(update, schedule):
    assert_trains_as_plain(normed, MOST[schedule], update=update)


@pytest.mark.parametrize("update", [backward, forward_twice, backward_twice, autocast, autocast_anew])
def test_so_it_does_where_reruns_nest_four_deep(update):
    """With buffers and generators in each block."""
    model = assert_trains_as_plain(lambda: normed(16), SCHEDULES["halving"], update=update)
    forward_passes = 3 * (2 if update is forward_twice else 1)
    assert model.calls.count(1) > 4 * forward_passes  # the forward pass, and once from each level of the tree


def test_no_casts_are_cached_in_a_first_run_or_a_rerun():
    """A cache would hold lower copies of all weights to the end of the context, and no schedule knows of them."""
    seen = []

    def look(self, x):
        seen.append((torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()))
        return x.sin()

    with torch.autocast("cpu", torch.bfloat16):
        model = Chained(nn.Linear(4, 4), Calling(look), nn.Linear(4, 2))
        loss = mean_square(model(torch.ones(2, 4), keep=nothing(3)))
        assert torch.is_autocast_cache_enabled()
    loss.backward()
    assert seen == [(True, False)] * 2


@pytest.mark.parametrize("schedule", MOST)
def test_an_optimiser_that_steps_in_the_backward_pass(schedule):
    """Each parameter is updated, and its gradient freed, as soon as it has one."""

    def stepping(make, keep):
        model, inputs = make()
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(partial(stepped, torch.optim.SGD([parameter], lr=0.1)))
        torch.manual_seed(3)
        losses = [backward(model, inputs, keep) for _ in range(3)]
        assert not gradients(model)
        return [*losses, *(p.detach() for p in model.parameters()), *model.buffers()]

    assert_same_bits(stepping(normed, MOST[schedule](7)), stepping(normed, None))


def stepped(optimiser, parameter):
    optimiser.step()
    optimiser.zero_grad()


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x, y):
        return torch.tanh(self.left(x) + y), torch.tanh(self.right(y) + x.exp())


def two_towers():
    torch.manual_seed(0)
    return Chained(*(Two() for _ in range(6))), (torch.randn(3, 6), torch.randn(3, 6))


@pytest.mark.parametrize("schedule", MOST)
@pytest.mark.parametrize("used", [0, 1])
def test_a_loss_on_one_of_the_outputs(used, schedule):
    def update(model, inputs, keep):
        loss = mean_square(model(*inputs, keep=keep)[used : used + 1])
        loss.backward()
        return loss.detach()

    assert_trains_as_plain(two_towers, MOST[schedule], update=update)


@pytest.mark.parametrize("schedule", MOST)
def test_a_backward_pass_for_each_output(schedule):
    def update(model, inputs, keep):
        left, right = model(*inputs, keep=keep)
        left.square().sum().backward(retain_graph=True)
        right.square().sum().backward()
        return (left + right).detach()

    assert_trains_as_plain(two_towers, MOST[schedule], update=update)


def test_an_output_that_nobody_uses_and_a_forward_pass_without_backward():
    def update(model, inputs, keep):
        model(*inputs, keep=keep)
        return backward(model, inputs, keep)

    assert_trains_as_plain(normed, by_chance(5, 0.4), update=update)


def test_without_gradients_blocks_just_run():
    model, inputs = mlp()
    with torch.no_grad():
        output = model(*inputs, keep=nothing(8))
        assert_same_bits(output, model(*inputs))
    assert not output[0].requires_grad


def test_gradients_of_the_input():
    def update(model, inputs, keep):
        x = inputs[0].clone().requires_grad_()
        mean_square(model(x, keep=keep)).backward()
        return x.grad

    for keep in MOST.values():
        assert_trains_as_plain(normed, keep, update=update)
