"""A decoder like GPT's: tokens in, six causal layers, a head as wide as the vocabulary. Use `--blocks layers`."""

import torch
from torch import nn
from torch.nn import functional

VOCABULARY, WIDTH, HEADS, DEPTH, LENGTH, BATCH = 2000, 128, 4, 6, 128, 8


class Layer(nn.Module):
    """Attention and a feed-forward net, each after a norm and beside a skip."""

    def __init__(self):
        super().__init__()
        self.attention_norm, self.norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.inputs, self.outputs = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        x = x + self.outputs(self.attend(self.inputs(self.attention_norm(x))))
        return x + self.narrow(functional.gelu(self.wide(self.norm(x))))

    def attend(self, x):
        rows, length, _ = x.shape
        query, key, value = x.view(rows, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return attended.transpose(1, 2).reshape(rows, length, WIDTH)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(DEPTH))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.places.weight
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


def make():
    tokens = torch.randint(0, VOCABULARY, (BATCH, LENGTH + 1))
    following = tokens[:, 1:].flatten()
    return Decoder(), tokens[:, :-1], lambda outputs: functional.cross_entropy(outputs.flatten(0, 1), following)
