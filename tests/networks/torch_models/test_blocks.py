"""A user's model cut into blocks: the same bits, the same names, and what a schedule must know of each block."""

import copy
import random
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.nn import functional

from networks.torch_models.blocks import blocks_of
from networks.torch_models.borders import in_order
from tests.support.masked_encoder import Encoder
from tests.support.torch_models import TOKENS, features, trained


def assert_blocks_train_as_the_model(model, inputs, blocks=None, chain=in_order):
    """`blocks` as `blocks_of` takes them, or a function that gives them for a model."""
    plain, cut = copy.deepcopy(model), copy.deepcopy(model)
    found = blocks_of(cut, inputs, blocks(cut) if callable(blocks) else blocks)
    expected = trained(plain, plain, *inputs)
    seen = trained(cut, lambda *x: found(chain, *x), *inputs)
    assert len(seen) == len(expected) > 3
    assert all(map(torch.equal, seen, expected))
    assert cut.state_dict().keys() == model.state_dict().keys()
    return found


def residual_block(width):
    return nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.Dropout(0.3))


def test_a_sequentials_children_are_its_blocks_and_nested_ones_are_opened():
    model = nn.Sequential(nn.Linear(6, 8), nn.Sequential(residual_block(8), nn.Tanh()), nn.Linear(8, 2))
    found = assert_blocks_train_as_the_model(model, (features(5, 6),))
    assert found.names == ("0", "1.0.0", "1.0.1", "1.0.2", "1.1", "2")
    assert found.notes == ()


def test_a_nested_sequential_that_a_hook_watches_stays_one_block():
    model = nn.Sequential(nn.Linear(6, 8), residual_block(8))
    seen = []
    model[1].register_forward_hook(lambda *call: seen.append(call))
    found = blocks_of(model, features(5, 6))
    assert found.names == ("0", "1")
    seen.clear()
    found(in_order, features(5, 6))
    assert len(seen) == 1


def test_a_path_leaves_what_runs_before_and_after_to_the_models_own_forward():
    found = assert_blocks_train_as_the_model(Encoder(), (TOKENS,), "layers")
    assert found.names == ("layers.0", "layers.1", "layers.2")
    blocks, border = found.before(TOKENS)
    assert [tuple(tensor.shape) for tensor in border] == [(4, 6, 8)]
    assert [block.name for block in blocks] == list(found.names)
    assert torch.equal(border[0], found.model.embedding(TOKENS))


def test_torchs_own_encoder_is_cut_at_its_layers():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
    model = nn.Sequential(nn.Linear(3, 8), nn.TransformerEncoder(layer, 3, enable_nested_tensor=False))
    found = assert_blocks_train_as_the_model(model, (features(2, 5, 3),), "1.layers")
    assert len(found) == 3
    assert len(set(found.fingerprints[1:])) == 1


def test_the_chain_is_called_once_and_may_run_blocks_again():
    calls = []

    def twice(blocks, border):
        calls.append(len(blocks))
        with torch.no_grad():
            state = torch.get_rng_state()
            again = in_order(blocks, border)
            torch.set_rng_state(state)
        result = in_order(blocks, border)
        assert torch.equal(again[0], result[0])
        return result

    assert_blocks_train_as_the_model(Encoder(), (TOKENS,), "layers", twice)
    assert calls == [3, 3, 3]


def test_blocks_of_two_calls_keep_the_mask_of_their_own_call():
    model = Encoder()
    found = blocks_of(model, TOKENS, "layers")
    model.layers.apply(lambda m: setattr(m, "p", 0.0) if isinstance(m, nn.Dropout) else None)
    (first, border), (second, other) = found.before(TOKENS), found.before(TOKENS.flip(0))
    assert torch.equal(in_order(first, border)[0].flip(0), in_order(second, other)[0])


def test_eval_and_no_grad_run_the_model_plainly():
    model = Encoder()
    found = blocks_of(model, TOKENS, "layers")

    def never(blocks, border):
        raise AssertionError

    with torch.no_grad():
        assert found(never, TOKENS).shape == (4, 4)
    model.eval()
    assert torch.equal(found(never, TOKENS[:2]), model(TOKENS[:2]))
    model.train()
    with pytest.raises(AssertionError):
        found(never, TOKENS)
    assert all(layer._compiled_call_impl is None for layer in model.layers)


class Unet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.deep, self.up = (nn.Linear(*shape) for shape in ((6, 8), (8, 8), (16, 3)))

    def forward(self, x):
        skip = torch.relu(self.down(x))
        return self.up(torch.cat([skip, torch.tanh(self.deep(skip))], dim=1))

    def stages(self):
        return [
            lambda x: torch.relu(self.down(x)),
            lambda skip: (skip, torch.tanh(self.deep(skip))),
            lambda skip, deep: self.up(torch.cat([skip, deep], dim=1)),
        ]


def test_a_u_shaped_net_is_given_as_callables_whose_borders_are_tuples():
    found = assert_blocks_train_as_the_model(Unet(), (features(5, 6),), Unet.stages)
    blocks, border = found.before(features(5, 6))
    assert [len(border := block(border)) for block in blocks] == [1, 2, 1]
    assert found.notes == ()
    assert len(set(found.fingerprints)) == 3


def test_one_block_may_be_used_many_times():
    cell = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
    model = nn.Sequential(*[cell] * 4)
    found = assert_blocks_train_as_the_model(model, (features(3, 6),))
    assert found.names == ("0.0", "0.1", "1.0", "1.1", "2.0", "2.1", "3.0", "3.1")
    assert len(set(found.fingerprints)) == 3  # of the first nobody needs the gradient at its input
    listed = assert_blocks_train_as_the_model(model, (features(3, 6),), list)
    assert len(listed) == 4
    assert len(set(listed.fingerprints)) == 2


class Rounds(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6), nn.Tanh()])

    def forward(self, x):
        for _ in range(2):
            for layer in self.layers:
                x = layer(x)
        return x


def test_a_list_that_is_run_in_rounds_is_one_chain():
    found = assert_blocks_train_as_the_model(Rounds(), (features(3, 6),), "layers")
    assert found.names == ("layers.0", "layers.1", "layers.0 (call 2)", "layers.1 (call 2)")


def test_blocks_that_write_over_their_input_or_return_a_view_are_merged():
    model = nn.Sequential(
        *(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(inplace=True), nn.Identity(), nn.BatchNorm1d(8)),
        *(nn.Unflatten(1, (2, 4)), nn.Tanh()),
    )
    found = assert_blocks_train_as_the_model(model, (features(5, 3, 4),))
    assert found.names == ("0 to 3", "4 to 5", "6")
    assert found.notes == (
        "0 returns its input or a view of it: merged with 1",
        "2 writes over its input: merged with 0 to 1",
        "3 returns its input or a view of it: merged with 0 to 2",
        "5 returns its input or a view of it: merged with 4",
    )


def test_a_first_block_that_writes_over_the_input_works_on_a_copy():
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 2))
    x = features(3, 6)
    before = x.clone()
    found = blocks_of(model, x)
    assert torch.equal(found(in_order, x), model(x.clone()))
    assert torch.equal(x, before)
    assert found.notes == ("0 writes over the tensors that the first block gets: it works on a copy",)


def test_a_write_joins_all_blocks_since_the_tensor_was_made():
    linear = nn.Linear(6, 6)
    stages = [linear, lambda x: (x, x * 2), lambda x, y: (x, y + 1), lambda x, y: x.mul_(2) + y, torch.tanh]
    model = Composed(linear, stages)
    found = blocks_of(model, features(3, 6), stages)
    assert found.groups == ((0, 1, 2, 3), (4,))


class Composed(nn.Module):
    def __init__(self, linear, stages):
        super().__init__()
        self.linear, self.stages = linear, stages

    def forward(self, x):
        for stage in self.stages:
            x = stage(*x) if isinstance(x, tuple) else stage(x)
        return x


def test_no_run_takes_more_memory_before_its_blocks_than_the_run_before_it():
    found = blocks_of(Encoder(), TOKENS, "layers")
    taken = []

    def chain(blocks, border):
        taken.append(tracemalloc.get_traced_memory()[0])
        return in_order(blocks, border)

    tracemalloc.start()
    try:
        for _ in range(30):
            found(chain, TOKENS)
            tracemalloc.clear_traces()
    finally:
        tracemalloc.stop()
    assert max(later - earlier for earlier, later in pairwise(taken)) < 1000


class Remembering(nn.Module):
    """All that a trial could leave behind."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6), nn.BatchNorm1d(6)])
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        random.random()
        x.mul_(2)
        for layer in self.layers:
            x = layer(x)
        return functional.dropout(x)


def test_the_model_its_sample_and_the_generators_are_left_as_they_were():
    model, x = Remembering(), features(3, 6)
    state, sample = copy.deepcopy(model.state_dict()), x.clone()
    generators = random.getstate(), torch.get_rng_state()
    blocks_of(model, x, "layers")
    assert model.calls == 0
    assert all(map(torch.equal, model.state_dict().values(), state.values()))
    assert torch.equal(x, sample)
    assert random.getstate() == generators[0]
    assert torch.equal(torch.get_rng_state(), generators[1])


class Between(Encoder):
    def forward(self, tokens):
        x, mask = self.embedding(tokens), (tokens == 0)[..., None]
        for layer in self.layers:
            x = x + layer(x, mask=mask)
        return x


class Collecting(Encoder):
    def forward(self, tokens):
        x, mask = self.embedding(tokens), (tokens == 0)[..., None]
        return torch.stack([x := layer(x, mask=mask) for layer in self.layers])


class Apart(Encoder):
    def forward(self, tokens):
        x, mask = self.embedding(tokens), (tokens == 0)[..., None]
        return torch.stack([layer(x, mask=mask) for layer in self.layers])


class Unused(Encoder):
    def forward(self, tokens):
        return self.embedding(tokens)


@pytest.mark.parametrize(
    ("model", "blocks", "message"),
    [
        (Encoder(), None, r"a Encoder is no Sequential: give blocks as a path, here 'layers' \(3\), or a list"),
        (nn.Linear(4, 6), None, "a Linear is no Sequential: give blocks as a list of callables"),
        (nn.Sequential(), None, "a Sequential has no modules, so it has no blocks"),
        (
            Encoder(),
            "layer",
            "'layer' is no ModuleList or Sequential of the model; did you mean layers[?]: give a path",
        ),
        (Encoder(), [], "blocks must be None, a path"),
        (Encoder(), [3], "blocks must be None, a path"),
        (Encoder().eval(), "layers", "eval mode"),
        (nn.Sequential(nn.LazyLinear(3)), None, "0.weight has no shape yet"),
        ("encoder", None, "the model must be a torch.nn.Module"),
        (Between(), "layers", "layers.1 gets a tensor .* that neither layers.0 returns nor layers.0 gets"),
        (Collecting(), "layers", "do not give what the model gives"),
        (Apart(), "layers", "layers.1 gets nothing of what layers.0 returns"),
        (Unused(), "layers", "never called"),
        (Encoder(), [lambda tokens: "text"], "must give a tensor or a tuple of tensors, got 'text'"),
        (Encoder(), [lambda tokens: tokens], "do not give what the model gives"),
    ],
)
def test_what_is_no_chain_is_refused_in_a_line(model, blocks, message):
    with pytest.raises(ValueError, match=message) as raised:
        blocks_of(model, TOKENS, blocks)
    assert "\n" not in str(raised.value)


class Scaled(nn.Linear):
    def forward(self, x, by):
        return super().forward(x) * float(by.sum())


class Arrays(nn.Module):
    """Gives each layer an array, which it makes at each call."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(Scaled(6, 6) for _ in range(3))
        self.by = 1

    def forward(self, x):
        for layer in self.layers:
            x = layer(x, np.ones(3) * self.by)
        return x


def test_arrays_beside_the_tensors_are_compared_by_their_values():
    model, x = Arrays(), features(3, 6)
    found = blocks_of(model, x, "layers")
    assert torch.equal(found(in_order, x), model(x))
    model.by = 2
    with pytest.raises(RuntimeError, match="or gets other arguments"):
        found(in_order, x)


def test_a_model_that_calls_its_blocks_otherwise_later_is_an_error():
    model = Encoder()
    found = blocks_of(model, TOKENS, "layers")
    model.layers = model.layers[:2]
    with pytest.raises(RuntimeError, match="called 2 of its 3 blocks"):
        found(in_order, TOKENS)
    model.layers = nn.ModuleList(reversed(blocks_of(model, TOKENS, "layers").model.layers))
    with pytest.raises(RuntimeError, match="call 1 of the model's blocks is another than on the sample"):
        found(in_order, TOKENS)
