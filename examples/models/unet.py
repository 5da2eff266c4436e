"""A U-shaped net given as a list of blocks: what a skip carries crosses the borders beside the image."""

import torch
from torch import nn

CHANNELS, SIZE, BATCH = 16, 64, 8


class Convolutions(nn.Module):
    """Two convolutions with batch-norm."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.inner = nn.Sequential(
            *(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()),
            *(nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()),
        )

    def forward(self, x):
        return self.inner(x)


class Down(nn.Module):
    """Halve the image; the image before it becomes a skip."""

    def __init__(self, channels):
        super().__init__()
        self.halving = nn.Conv2d(channels, 2 * channels, 2, stride=2)
        self.convolutions = Convolutions(2 * channels, 2 * channels)

    def forward(self, x, *skips):
        return (self.convolutions(self.halving(x)), x, *skips)


class Up(nn.Module):
    """Double the image and join it with the skip of its size."""

    def __init__(self, channels):
        super().__init__()
        self.doubling = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.convolutions = Convolutions(2 * channels, channels)

    def forward(self, x, skip, *skips):
        return (self.convolutions(torch.cat((self.doubling(x), skip), 1)), *skips)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = CHANNELS, 2 * CHANNELS, 4 * CHANNELS
        self.first = Convolutions(3, CHANNELS)
        self.down = nn.ModuleList(map(Down, sizes))
        self.up = nn.ModuleList(map(Up, reversed(sizes)))
        self.last = nn.Conv2d(CHANNELS, 3, 1)
        self.blocks = [self.first, *self.down, *self.up, self.last]

    def forward(self, x):
        border = (x,)
        for block in self.blocks:
            border = block(*border)
            border = border if isinstance(border, tuple) else (border,)
        return border[0]


def make():
    model = UNet()
    x, y = torch.randn(BATCH, 3, SIZE, SIZE), torch.randn(BATCH, 3, SIZE, SIZE)
    return model, x, lambda outputs: nn.functional.mse_loss(outputs, y), model.blocks
