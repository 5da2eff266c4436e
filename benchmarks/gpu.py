"""`python -m benchmarks.gpu [--device cuda] [FILE.py:FUNCTION[:BLOCKS] ..]`: own models on a GPU, as one table.

Each model trains plainly, with `torch.utils.checkpoint` around every few blocks, and by our plans within five budgets,
between the smallest that can be met and plain autograd's peak. Each peak is of a fresh process: requested of PyTorch's
allocator beside what stands before the step, and allocated and reserved with all that stands. Times are over plain's,
paired in turns in one process: the median, and its interval of 95 %. `!` marks a peak over its budget.

The default models are those of `examples/models`, which are small: name your own. On a machine without a GPU,
`--device cpu` tries the script; it then has no allocated and reserved peaks. It needs PyTorch and our `harness` extra.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.analysis.time import paired_ratio
from harness.commands.plan_parts import told_ratio
from harness.execute.models import OwnModel
from harness.experiment.model_cell import PLAIN, variant_of
from harness.sizes import format_bytes
from networks.planning.own_models import BlockProfile

EXAMPLES = {"mlp": None, "residual": None, "encoder": "auto", "unet": None, "decoder": "layers"}
"""The models of `examples/models`, and how each is cut."""

SHARES = 0, 0.25, 0.5, 0.75, 1
"""Where the budgets lie between the smallest and plain autograd's peak."""

ALLOCATORS = "allocated_peak_bytes", "reserved_peak_bytes"


def models(given: list[str], device: str) -> Iterator[OwnModel]:
    """The models that were named, or else the examples."""
    for text in given:
        place, _, blocks = text.partition(".py:")[2].partition(":")
        yield OwnModel.in_file(f"{text.partition('.py:')[0]}.py:{place}", blocks or None, device)
    for name, blocks in EXAMPLES.items() if not given else ():
        yield OwnModel.in_file(f"{Path('examples/models') / name}.py:make", blocks, device)


def variants(profile: BlockProfile) -> Iterator[tuple[str, Any, int, int | None]]:
    """Name, variant as workers take it, predicted peak, and the budget of ours."""
    smallest, plain = profile.budgets()
    room = max(0, plain - smallest)
    ours = [profile.plan(budget_bytes=smallest + int(share * room)) for share in SHARES]
    yield PLAIN, PLAIN, ours[0].rows[0].peak_bytes, None
    for row in ours[0].checkpoints:
        yield row.schedule, variant_of(row.schedule), row.peak_bytes, None
    for plan in ours:
        name = f"ours within {format_bytes(plan.budget_bytes)}"
        yield name, {"plan": plan.to_json()}, plan.predicted_peak_bytes, plan.budget_bytes


def compare(own: OwnModel, shown: Table) -> None:
    """Measure one model and add its rows."""
    named = list(variants(own.profile()))
    seconds = own.seconds([variant for _, variant, *_ in named], gradients="kept")
    for (name, variant, predicted_bytes, budget_bytes), of_variant in zip(named, seconds, strict=True):
        peaks = own.peaks(variant, gradients="kept")
        over = budget_bytes is not None and peaks["peak_bytes"] > budget_bytes
        shown.add_row(
            own.name,
            name,
            format_bytes(predicted_bytes),
            f"{format_bytes(peaks['peak_bytes'])}{'!' if over else ''}",
            *(format_bytes(peaks[key]) if key in peaks else "" for key in ALLOCATORS),
            told_ratio(paired_ratio(of_variant, seconds[0])),
        )
    shown.add_section()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("models", nargs="*", metavar="FILE.py:FUNCTION[:BLOCKS]")
    given = parser.parse_args()
    shown = Table("model", "step", "predicted", "requested", "allocated", "reserved", "time over plain")
    try:
        for own in models(given.models, given.device):
            compare(own, shown)
    except ValueError as error:
        sys.exit(str(error))
    Console(width=140).print(shown)


if __name__ == "__main__":
    main()
