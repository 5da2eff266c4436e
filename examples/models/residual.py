"""A residual net: twelve blocks of two convolutions with batch-norm, on images of 32 x 32."""

import torch
from torch import nn
from torch.nn import functional

CHANNELS, DEPTH, BATCH = 8, 12, 32


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)

    def forward(self, x):
        inner = torch.relu(self.first_norm(self.first(x)))
        return torch.relu(x + self.second_norm(self.second(inner)))


class Head(nn.Module):
    """The mean over the image, and ten classes."""

    def __init__(self, channels):
        super().__init__()
        self.linear = nn.Linear(channels, 10)

    def forward(self, x):
        return self.linear(x.mean((2, 3)))


def make():
    blocks = [Residual(CHANNELS) for _ in range(DEPTH)]
    model = nn.Sequential(nn.Conv2d(3, CHANNELS, 3, padding=1), *blocks, Head(CHANNELS))
    x, y = torch.randn(BATCH, 3, 32, 32), torch.randint(0, 10, (BATCH,))
    return model, x, lambda outputs: functional.cross_entropy(outputs, y)
