"""Blocks found in a user's model: the same bits as the plain model, or a note and the model's own children."""

import copy
import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.nn import functional

from networks.torch_models import live_values
from networks.torch_models.blocks import blocks_of
from networks.torch_models.borders import in_order
from tests.support.torch_models import MODELS, TOKENS, Decoder, Encoder, features, trained

NOTE = "automatic blocks were not used: "


@pytest.mark.parametrize(
    ("name", "blocks", "kinds", "crossing"),
    [
        ("encoder", 1 + 2 * 3 + 1, 4, 1),  # the embedding, attention and feed-forward, the head; no border has the mask
        ("decoder", 3 + 2 * 3 + 2, 7, 1),  # words, positions and dropout; attention and feed-forward; norm and head
        ("residual net", 3 + 2 * 4 + 2, 6, 1),  # each block: convolutions, and the sum with its relu
        ("U-shaped net", 13, 11, 2),
        ("GRU", 1 + 8 + 1, 4, 1),  # the first input; the steps, of which the first has no state to train
        ("LSTM", 20, 8, 4),  # the state and the memory; before the first step, four views of its gates
    ],
)
def test_found_blocks_train_as_the_model_bit_for_bit(name, blocks, kinds, crossing):
    make, sample = MODELS[name]
    torch.manual_seed(5)
    plain = make()
    cut = copy.deepcopy(plain)
    keys, values = list(cut.state_dict()), [value.clone() for value in cut.state_dict().values()]
    generator = torch.get_rng_state()

    found = blocks_of(cut, sample, "auto")

    assert (found.notes, len(found), len(set(found.fingerprints))) == ((), blocks, kinds)
    assert all(map(torch.equal, cut.state_dict().values(), values))
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(parameter.grad is None for parameter in cut.parameters())
    parts, border = found.before(sample)
    assert max(len(border := part(border)) for part in parts) == crossing
    cut.load_state_dict(plain.state_dict())
    expected, seen = trained(plain, plain, sample), trained(cut, lambda x: found(in_order, x), sample)
    assert len(seen) == len(expected) > 3
    assert all(map(torch.equal, seen, expected))
    assert list(cut.state_dict()) == keys


def test_an_encoder_of_twelve_layers_is_cut_into_attention_and_feed_forward():
    assert len(blocks_of(Encoder(depth=12), TOKENS, "auto")) == 26


def test_blocks_read_the_parameters_that_the_model_has_at_the_call():
    model = Decoder().train()
    found = blocks_of(model, TOKENS, "auto")
    model.norm.weight = nn.Parameter(torch.zeros(16))
    model.norm.bias.data.zero_()
    assert not found(in_order, TOKENS).any()


def test_eval_runs_the_model_itself_on_any_batch():
    model = Decoder()
    found = blocks_of(model, TOKENS, "auto")
    model.eval()
    assert torch.equal(found(in_order, TOKENS[:2]), model(TOKENS[:2]))


def test_what_a_graph_would_not_see_is_an_error():
    model = Decoder()
    found = blocks_of(model, TOKENS, "auto")
    with pytest.raises(ValueError, match=r"take inputs like the sample's, .*\(4, 6\).* got .*\(2, 6\)"):
        found(in_order, TOKENS[:2])
    model.dropout.eval()
    with pytest.raises(RuntimeError, match="was True when the blocks were found"):
        found(in_order, TOKENS)
    model.train()
    model.layers[1].register_forward_hook(lambda *call: None)
    with pytest.raises(ValueError, match=r"layers\.1 has a hook"):
        found(in_order, TOKENS)


def test_many_blocks_are_merged_where_they_make_least(monkeypatch):
    monkeypatch.setattr(live_values, "MOST_TRACED_BLOCKS", 4)
    model = Decoder()
    found = blocks_of(model, TOKENS, "auto")
    assert len(found) == 4
    assert found.notes == ()


def test_blocks_that_write_in_place_or_return_views_have_no_border_inside():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Unflatten(1, (2, 4)), nn.Linear(4, 3))
    found = blocks_of(model, features(5, 6), "auto")
    assert (found.notes, len(found)) == ((), 2)


class Trap(nn.Module):
    """A list of layers, and between two of them what a graph does not show."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.calls = 0
        self.generator = np.random.default_rng(3)

    def forward(self, x):
        x = self.trap(x)
        for layer in self.layers:
            x = layer(x)
        return x


class PythonRandom(Trap):
    def trap(self, x):
        return x * 2 if random.random() < 1e-9 else x


class NumpyRandom(Trap):
    def trap(self, x):
        return x + float(np.random.rand())  # noqa: NPY002


class OwnGenerator(Trap):
    def trap(self, x):
        return x + self.generator.random()


class Counter(Trap):
    def trap(self, x):
        self.calls += 1
        return x


class DataDependent(Trap):
    def trap(self, x):
        print("looked at the data")
        return x * 2 if x.sum() > 0 else x


class OverInput(Trap):
    def trap(self, x):
        return x.mul_(2)


class Raising(Trap):
    def trap(self, x):
        if torch.compiler.is_exporting():
            raise KeyError("two\nlines")
        return x


@pytest.mark.parametrize(
    ("trap", "reason"),
    [
        (PythonRandom, "the model draws random numbers from Python or NumPy"),
        (NumpyRandom, "the model draws random numbers from Python or NumPy"),
        (OwnGenerator, "the graph gives another output 0 than the model"),
        (Counter, "the model changes its attribute calls"),
        (DataDependent, "torch.export cannot trace it (GuardOnDataDependentSymNode: "),
        (OverInput, "the model writes over its input"),
        (Raising, "torch.export cannot trace it (KeyError: "),
    ],
)
def test_a_trap_falls_back_to_the_models_list_with_a_note(trap, reason):
    model = trap()
    generators = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    found = blocks_of(model, features(4, 6), "auto")
    assert found.names == ("layers.0", "layers.1", "layers.2")
    assert found.notes[0].startswith(NOTE + reason)
    assert found.notes[1] == "the blocks are those of layers"
    assert not any("\n" in note for note in found.notes)
    assert model.calls == 0
    assert (random.getstate(), np.random.get_state()[1].tolist()) == generators  # noqa: NPY002


def test_nothing_of_the_tracer_reaches_the_terminal(capfd, caplog, recwarn):
    class Quiet(DataDependent):
        def trap(self, x):
            return x * 2 if x.sum() > 0 else x

    assert blocks_of(Quiet(), features(4, 6), "auto").notes
    blocks_of(Decoder(), TOKENS, "auto")
    assert tuple(capfd.readouterr()) == ("", "")
    assert not [record for record in caplog.records if record.levelname != "DEBUG"]
    assert not recwarn.list


def test_a_model_that_does_not_repeat_itself_is_told_so():
    assert "the model gives another output each time" in blocks_of(OwnGenerator(), features(4, 6), "layers").notes[0]


def test_a_model_with_a_hook_falls_back_so_that_the_hook_runs():
    model, seen = Decoder(), []
    model.layers[0].register_forward_hook(lambda *call: seen.append(call))
    found = blocks_of(model, TOKENS, "auto")
    assert found.notes[0] == f"{NOTE}layers.0 has a hook, which a graph does not run"
    seen.clear()
    found(in_order, TOKENS)
    assert len(seen) == 1


def test_too_little_memory_for_a_plain_step_falls_back():
    class Large(Trap):
        def trap(self, x):
            if torch.is_grad_enabled() and not torch.compiler.is_exporting():
                raise torch.OutOfMemoryError("no room for 1 GiB\nand more")
            return x

    assert blocks_of(Large(), features(4, 6), "auto").notes[0] == f"{NOTE}no room for 1 GiB"


def test_a_list_with_more_members_than_the_graph_has_blocks_comes_first():
    class Autocast(Decoder):
        def forward(self, tokens):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return super().forward(tokens)

    found = blocks_of(Autocast(depth=5), TOKENS, "auto")
    assert found.names == tuple(f"layers.{number}" for number in range(5))
    assert found.notes[0].startswith(f"{NOTE}the graph can be cut into ")


def test_a_sequential_falls_back_to_its_children_and_a_model_of_neither_kind_to_one_block():
    sequential = nn.Sequential(nn.Linear(6, 6), PythonRandom(), nn.Tanh())
    found = blocks_of(sequential, features(4, 6), "auto")
    assert (found.names, found.notes[1]) == (("0", "1", "2"), "the blocks are those of the Sequential")

    class Alone(nn.Linear):
        def forward(self, x):
            return functional.dropout(super().forward(x), random.random())

    whole = blocks_of(Alone(6, 6), features(4, 6), "auto")
    assert whole.names == ("Alone",)
    assert whole.notes[1] == "the whole model is one block: give blocks as a list of callables"
