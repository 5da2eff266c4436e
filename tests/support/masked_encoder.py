"""An encoder that hands a mask to each of its layers."""

from torch import nn


class Layer(nn.Module):
    def __init__(self, width, **settings):
        super().__init__()
        self.norm, self.linear, self.dropout = nn.LayerNorm(width), nn.Linear(width, width), nn.Dropout(0.2)
        vars(self).update(settings)

    def forward(self, x, mask=None, scale=1.0):
        return x + self.dropout(self.linear(self.norm(x))).masked_fill(mask, 0) * scale


class Encoder(nn.Module):
    """Runs something of its own before and after its layers, and hands a mask to each."""

    def __init__(self, depth=3, width=8):
        super().__init__()
        self.embedding = nn.Embedding(11, width)
        self.layers = nn.ModuleList(Layer(width) for _ in range(depth))
        self.head = nn.Linear(width, 4)

    def forward(self, tokens):
        x, mask = self.embedding(tokens), (tokens == 0)[..., None]
        for layer in self.layers:
            x = layer(x, mask=mask, scale=0.5)
        return self.head(x.mean(dim=1))
