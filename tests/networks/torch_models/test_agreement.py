"""Blocks that do otherwise than their model are told, with what they do otherwise."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from networks.torch_models.agreement import difference

MODEL, INPUTS = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)), (torch.ones(3, 4),)


def alike(chain, inputs):
    return MODEL(*inputs)


def training_less(chain, inputs):
    return MODEL[1:](MODEL[0](*inputs).detach())


def drawing(chain, inputs):
    torch.rand(1)
    return MODEL(*inputs)


@pytest.mark.parametrize(
    ("cutting", "found"),
    [
        (alike, ""),
        (training_less, "the graph does not train the same parameters"),
        (drawing, "the graph draws other random numbers than the model"),
    ],
)
def test_what_the_blocks_do_otherwise_is_found(cutting, found):
    assert difference(MODEL, cutting, INPUTS) == found
