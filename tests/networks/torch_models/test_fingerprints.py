"""What names a block: its code, its settings and its shapes."""

import copy
import os
import subprocess
import sys
from functools import partial

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from harness.provenance import ROOT
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


def factor(by, act=torch.relu):
    return lambda x: act(x) * by


@pytest.mark.parametrize(
    "setting", [{"d": [3]}, {"d": {"by": 3}}, {"act": partial(torch.add, other=3)}, {"act": factor(3)}]
)
def test_containers_partials_and_closures_are_settings(setting):
    other = {"d": [4], "act": factor(4)} | ({"d": {"by": 4}} if isinstance(setting.get("d"), dict) else {})
    if isinstance(setting.get("act"), partial):
        other["act"] = partial(torch.add, other=4)
    first, same, second = Encoder(), Encoder(), Encoder()
    vars(first.layers[1]).update(copy.deepcopy(setting))
    vars(same.layers[1]).update(setting)
    vars(second.layers[1]).update({name: other[name] for name in setting})
    one, equal, two = (blocks_of(model, TOKENS, "layers").fingerprints for model in (first, same, second))
    assert one == equal
    assert one[0] == two[0]
    assert one[1] != two[1]


def counted():
    calls = 0

    def act(x):
        nonlocal calls
        calls += 1
        return x * 2

    return act


def test_a_count_that_a_function_keeps_is_no_setting():
    models = Encoder(), Encoder()
    for number, model in enumerate(models):
        model.layers[1].act = counted()
        for _ in range(number):
            model.layers[1].act(1)
    one, two = (blocks_of(model, TOKENS, "layers").fingerprints for model in models)
    assert one == two


LAYER = """
import torch

LIMITS = 0, 1

def clipped(x):
    return [each.clamp(*LIMITS) for each in x]


def scaled(x):
    return 2 * clipped(x)[0]


class Layer(torch.nn.Linear):
    def forward(self, x):
        return self.finished(torch.relu(super().forward(x))) + 1

    def finished(self, x):
        return scaled(x[None])[0] if "this" in {"that", "those", "these", "this", "its"} else x - 7
"""

PRINTED = f"""{LAYER}
from networks.torch_models.blocks import blocks_of
from tests.support.torch_models import features
print(*blocks_of(torch.nn.Sequential(Layer(6, 6), Layer(6, 6)), features(3, 6)).fingerprints)
"""


def layers_of(text):
    space = {"__name__": f"some_{len(text)}"}
    exec(text, space)
    return blocks_of(nn.Sequential(space["Layer"](6, 6), space["Layer"](6, 6)), features(3, 6)).fingerprints


def test_a_fingerprint_is_of_the_code_whatever_its_module_is_called():
    plain = layers_of(LAYER)
    assert layers_of(f"{LAYER}\n# imported under another name") == plain
    forward = ("relu", "tanh"), ("+ 1", "+ 2"), ("+ 1", "- 1"), ("Layer", "Other")
    helpers = ("- 7", "- 8"), ("2 *", "3 *"), ("each.clamp", "each.clip")
    for code, other in (*forward, *helpers):
        renamed = LAYER.replace(code, other) + "\nLayer = Other\n" * (other == "Other")
        assert set(layers_of(renamed)).isdisjoint(plain)


def test_a_fingerprint_is_the_same_in_every_process():
    """Sets are in another order there."""
    done = subprocess.run(
        [sys.executable, "-c", PRINTED],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert tuple(done.stdout.split()) == layers_of(LAYER)
