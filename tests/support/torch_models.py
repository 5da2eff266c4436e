"""Small PyTorch models of several kinds."""

import torch
from torch import nn
from torch.nn import functional


class Encoder(nn.Module):
    def __init__(self, depth=3, width=16):
        super().__init__()
        self.embedding = nn.Embedding(11, width)
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.1, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, 4)

    def forward(self, tokens):
        return self.head(self.layers(self.embedding(tokens), src_key_padding_mask=tokens == 0))


class DecoderLayer(nn.Module):
    """Pre-norm, with causal attention."""

    def __init__(self, width):
        super().__init__()
        self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        batch, length, width = x.shape
        parts = self.qkv(self.attention_norm(x)).view(batch, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(*parts, is_causal=True)
        x = x + self.dropout(self.projection(attended.transpose(1, 2).reshape(x.shape)))
        return x + self.dropout(self.narrow(functional.gelu(self.wide(self.norm(x)))))


class Decoder(nn.Module):
    def __init__(self, depth=3, width=16, words=31, length=6):
        super().__init__()
        self.words, self.positions = nn.Embedding(words, width), nn.Embedding(length, width)
        self.dropout = nn.Dropout(0.1)
        self.layers = nn.ModuleList(DecoderLayer(width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens):
        x = self.words(tokens) + self.positions(torch.arange(tokens.shape[1]))
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


class ResidualBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.first_norm, self.second_norm = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x):
        inner = functional.relu(self.first_norm(self.first(x)), inplace=True)
        return functional.relu(x + self.second_norm(self.second(inner)))


class ResidualNet(nn.Module):
    def __init__(self, depth=4, channels=4):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(depth)))
        self.head = nn.Linear(channels, 5)

    def forward(self, x):
        x = self.blocks(functional.relu(self.norm(self.stem(x))))
        return self.head(x.mean(dim=(2, 3)))


class Unet(nn.Module):
    """Two stages down and two up. Each stage up reads the output of the stage down beside it."""

    def __init__(self, channels=4):
        super().__init__()
        self.down, self.downer = nn.Conv2d(1, channels, 3, padding=1), nn.Conv2d(channels, channels, 3, padding=1)
        self.deep = nn.Conv2d(channels, channels, 3, padding=1)
        self.upper, self.up = (nn.Conv2d(2 * channels, channels, 3, padding=1) for _ in range(2))
        self.head = nn.Conv2d(channels, 1, 1)

    def forward(self, x):
        first = functional.relu(self.down(x))
        second = functional.relu(self.downer(functional.max_pool2d(first, 2)))
        x = functional.relu(self.deep(functional.max_pool2d(second, 2)))
        x = functional.relu(self.upper(torch.cat([functional.interpolate(x, scale_factor=2), second], dim=1)))
        x = functional.relu(self.up(torch.cat([functional.interpolate(x, scale_factor=2), first], dim=1)))
        return self.head(x)


class Recurrent(nn.Module):
    """A cell of PyTorch's equations by hand, in a loop over time."""

    def __init__(self, cell, features=5, width=8):
        super().__init__()
        self.cell = cell
        gates = {"gru": 3, "lstm": 4}[cell]
        self.inputs, self.states = nn.Linear(features, gates * width), nn.Linear(width, gates * width)
        self.head = nn.Linear(width, 3)
        self.width = width

    def forward(self, x):
        h = c = x.new_zeros(len(x), self.width)
        for time in range(x.shape[1]):
            gates = self.inputs(x[:, time]), self.states(h)
            h, c = (self.gru(*gates, h), c) if self.cell == "gru" else self.lstm(gates[0] + gates[1], c)
        return self.head(h)

    def gru(self, of_input, of_state, h):
        reset, update, new = of_input.chunk(3, 1)
        reset_h, update_h, new_h = of_state.chunk(3, 1)
        update = torch.sigmoid(update + update_h)
        return (1 - update) * torch.tanh(new + torch.sigmoid(reset + reset_h) * new_h) + update * h

    def lstm(self, gates, c):
        enter, forget, new, out = gates.chunk(4, 1)
        c = torch.sigmoid(forget) * c + torch.sigmoid(enter) * torch.tanh(new)
        return torch.sigmoid(out) * torch.tanh(c), c


def features(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


def trained(model, forward, *inputs, steps=3):
    """Losses, gradients, buffers and generator state of some steps, from one seed."""
    torch.manual_seed(3)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = forward(*inputs).square().mean()
        loss.backward()
        seen += [loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]
        optimiser.step()
    return [*seen, *(buffer.clone() for buffer in model.buffers()), torch.get_rng_state()]


TOKENS = torch.arange(24).reshape(4, 6) % 11

MODELS = {
    "encoder": (Encoder, TOKENS),
    "decoder": (Decoder, TOKENS),
    "residual net": (ResidualNet, features(4, 3, 8, 8)),
    "U-shaped net": (Unet, features(2, 1, 8, 8)),
    "GRU": (lambda: Recurrent("gru"), features(3, 8, 5)),
    "LSTM": (lambda: Recurrent("lstm"), features(3, 8, 5)),
}
