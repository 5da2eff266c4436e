"""What names a block: its code, its settings and its shapes."""

import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from networks.torch_models.blocks import blocks_of
from tests.support.masked_encoder import Encoder
from tests.support.torch_models import TOKENS, features


def test_a_model_that_was_cut_has_its_former_fingerprint():
    model = Encoder()
    first, second = (blocks_of(model, TOKENS, "layers").fingerprints for _ in range(2))
    assert first == second


def test_equal_blocks_have_equal_fingerprints():
    model = nn.Sequential(nn.Linear(6, 6), *(nn.Linear(6, 6) for _ in range(3)), nn.Linear(6, 6, bias=False))
    model[2].requires_grad_(False)
    first, second, frozen, fourth, unbiased = blocks_of(model, features(3, 6)).fingerprints
    assert second == fourth
    assert len({first, second, frozen, unbiased}) == 4
    assert blocks_of(copy.deepcopy(model), features(3, 6)).fingerprints[1] == second
    assert blocks_of(model, features(4, 6)).fingerprints[1] != second


@pytest.mark.parametrize("setting", [{"window": 3}, {"act": torch.tanh}, {"act": lambda x: x}])
def test_a_setting_of_a_block_is_part_of_its_fingerprint(setting):
    plain, other = Encoder(), Encoder()
    vars(other.layers[1]).update(setting)
    vars(plain.layers[1]).update(dict.fromkeys(setting))
    one, two = (blocks_of(model, TOKENS, "layers").fingerprints for model in (plain, other))
    assert one[2] == two[2]
    assert one[1] != two[1]


LAYER = """
import torch


class Layer(torch.nn.Linear):
    def forward(self, x):
        return torch.relu(super().forward(x)) + 1
"""


def layers_of(text):
    space = {"__name__": f"some_{len(text)}"}
    exec(text, space)
    return blocks_of(nn.Sequential(space["Layer"](6, 6), space["Layer"](6, 6)), features(3, 6)).fingerprints


def test_a_fingerprint_is_of_the_code_whatever_its_module_is_called():
    plain = layers_of(LAYER)
    assert layers_of(f"{LAYER}\n# imported under another name") == plain
    for code, other in (("relu", "tanh"), ("+ 1", "+ 2"), ("+ 1", "- 1"), ("Layer", "Other")):
        renamed = LAYER.replace(code, other) + "\nLayer = Other\n" * (other == "Other")
        assert set(layers_of(renamed)).isdisjoint(plain)
