"""`python -m benchmarks.torch_models`: what the executor of PyTorch blocks costs beside what it runs.

Each model trains plainly, with all tapes held, and by a plan that runs every second block again. The steps take turns
in one process, under the variables of the harness's time cells. Seconds are CPU time of the process, so other work on
the machine counts less. Bare recomputation is the plain step and the recomputed blocks, run without gradients. It needs
the environment of `make peers`.
"""

import os
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from statistics import quantiles

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from harness.experiment.measures import MEASURES
from networks.schedules import Keep
from networks.torch_models.borders import Border, RunBlock, in_order
from networks.torch_models.executor import Facts, execute

REPEATS = 21


class Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inside = torch.relu(self.norms[0](self.first(x)))
        return torch.relu(x + self.norms[1](self.second(inside)))


def mlp() -> tuple[list[nn.Module], torch.Tensor]:
    widths = [64, 512, *[64] * 6, *[256] * 12]
    layers = [nn.Sequential(nn.Linear(*pair), nn.ReLU()) for pair in pairwise(widths)]
    return [*layers, nn.Linear(256, 10)], torch.randn(2048, 64)


def residual_net() -> tuple[list[nn.Module], torch.Tensor]:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    return [nn.Conv2d(3, 16, 3, padding=1), *(Residual(16) for _ in range(12)), head], torch.randn(32, 3, 32, 32)


def encoder() -> tuple[list[nn.Module], torch.Tensor]:
    layers = (nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.1, batch_first=True) for _ in range(12))
    return list(layers), torch.randn(8, 256, 256)


MODELS = {"MLP": (mlp, 1.05), "residual net": (residual_net, 1.05), "encoder": (encoder, 1.03)}
"""Each with the step over bare recomputation to be reached; all taped is to reach 1.02 over plain."""


def all_taped(cached: object, start: int, stop: int) -> range:
    return range(stop)


def every_second(cached: object, start: int, stop: int) -> set[int]:
    """Hold outputs and tapes of the even blocks. Each odd one is run again by itself."""
    return {position for position in range(stop) if (position + 1) // 2 % 2 == 0}


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def measure(make: Callable[[], tuple[list[nn.Module], torch.Tensor]], repeats: int) -> dict[str, list[float]]:
    """Paired CPU seconds of each kind of step, and of the recomputed blocks run without gradients."""
    modules, sample = make()
    steps: list[RunBlock] = [lambda border, module=module: (module(*border),) for module in modules]
    facts = [facts_of(str(number), module) for number, module in enumerate(modules, 1)]
    parameters = [parameter for module in modules for parameter in module.parameters()]

    def train(chain: Callable[[Border], Border]) -> None:
        for parameter in parameters:
            parameter.grad = None
        chain((sample,))[0].square().mean().backward()

    def under(keep: Keep) -> Callable[[Border], Border]:
        return lambda border: execute(steps, facts, keep, border)

    with torch.no_grad():
        borders = [(sample,)]
        for step in steps:
            borders.append(step(borders[-1]))

    def recomputed() -> None:
        with torch.no_grad():
            for number in range(0, len(steps) - 1, 2):
                steps[number](borders[number])

    kinds: dict[str, Callable[[], None]] = {
        "plain": lambda: train(lambda border: in_order(steps, border)),
        "all taped": lambda: train(under(all_taped)),
        "every second": lambda: train(under(every_second)),
        "recomputed": recomputed,
    }
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for repeat in range(-2, repeats):
        for kind, run in kinds.items():
            taken = seconds(run)
            if repeat >= 0:
                times[kind].append(taken)
    return times


def facts_of(name: str, module: nn.Module) -> Facts:
    buffers = tuple((part, buffer) for part in module.modules() for buffer in part._buffers)
    return Facts(name, random=any(isinstance(part, nn.Dropout) for part in module.modules()), buffers=buffers)


def ratio(over: list[float], under: list[float], reach: float) -> str:
    """The median of paired ratios with its quartiles; `!` marks what is not reached."""
    low, middle, high = quantiles(one / other for one, other in zip(over, under, strict=True))
    return f"{middle:.3f} ({low:.3f}-{high:.3f}){'!' if middle > reach else ''}"


def main() -> None:
    variables = MEASURES["time"].variables
    if not variables.items() <= os.environ.items():  # malloc reads them when a process starts
        os.execve(sys.executable, (sys.executable, "-m", "benchmarks.torch_models"), {**os.environ, **variables})
    torch.set_num_threads(1)
    shown = Table("model", "plain", "all taped / plain", "every second / plain", "/ bare recomputation", "reach")
    for name, (make, reach) in MODELS.items():
        torch.manual_seed(0)
        times = measure(make, REPEATS)
        bare = [plain + again for plain, again in zip(times["plain"], times["recomputed"], strict=True)]
        shown.add_row(
            name,
            f"{quantiles(times['plain'])[1] * 1e3:.4g} ms",
            ratio(times["all taped"], times["plain"], 1.02),
            ratio(times["every second"], times["plain"], float("inf")),
            ratio(times["every second"], bare, reach),
            f"{reach:.2f}",
        )
    Console(width=120).print(shown)


if __name__ == "__main__":
    main()
