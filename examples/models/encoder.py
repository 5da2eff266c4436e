"""An encoder of twelve Transformer layers with dropout: `--blocks layers`, or `--blocks auto` for finer ones."""

import torch
from torch import nn
from torch.nn import functional

WIDTH, HEADS, DEPTH, LENGTH, BATCH = 256, 4, 12, 256, 4


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        layer = (nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, batch_first=True) for _ in range(DEPTH))
        self.layers = nn.ModuleList(layer)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


def make():
    x, y = torch.randn(BATCH, LENGTH, WIDTH), torch.randint(0, 10, (BATCH,))
    return Encoder(), x, lambda outputs: functional.cross_entropy(outputs, y)
