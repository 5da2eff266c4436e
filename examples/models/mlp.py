"""A multi-layer perceptron of 20 layers: wide at both ends, narrow between."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

WIDTHS = (64, 512, *[64] * 6, *[256] * 12, 10)
BATCH = 2048


class Layer(nn.Module):
    """A linear layer and its activation: one block."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x):
        return torch.relu(self.linear(x))


def make():
    pairs = list(pairwise(WIDTHS))
    model = nn.Sequential(*(Layer(*pair) for pair in pairs[:-1]), nn.Linear(*pairs[-1]))
    x, y = torch.randn(BATCH, WIDTHS[0]), torch.randint(0, WIDTHS[-1], (BATCH,))
    return model, x, lambda outputs: functional.cross_entropy(outputs, y)
