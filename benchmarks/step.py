"""`python -m benchmarks.step`: how far a training step is from its two floors, for every case and schedule.

Time: seconds of the step over those of its bare matrix products, recomputed ones included; beside it its kernels
alone, which are the products with their element-wise passes. Memory: memray's peak over the bytes that the step cannot
do without (`memory_floor_bytes`). Each number comes from a fresh process in the environment of the harness's own time
and memory cells.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from harness.commands.console import new_console
from harness.execute.process import INHERITED
from harness.experiment.measures import MEASURES
from harness.provenance import ROOT
from harness.sizes import format_bytes
from networks.chain import Chain
from networks.layer_lists import parse_layers

FREQUENCIES = (None, 2, 4, 8, 16)
"""checkpoint_frequency of the steps; None is store-all."""

THREADS = (1, 2)
MORE_AT_TWO_THREADS = 0.15
COLUMNS = (
    "case",
    "schedule",
    "threads",
    "floor",
    "step / floor",
    "kernels / floor",
    "reach",
    "peak",
    "memory floor",
    "bound",
)
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network and its batch; the time over the floor to be reached on one thread; pairs of steps and products."""

    layers: str
    batch: int
    reach: float
    reach_recomputing: float
    repeats: int

    @property
    def chain(self) -> Chain:
        return Chain(parse_layers(self.layers), self.batch, itemsize=4)


CASES = {
    "A": Case(layers="64,128,64,10", batch=1437, reach=1.8, reach_recomputing=1.8, repeats=301),
    "B": Case(layers="64,512x32,10", batch=256, reach=1.1, reach_recomputing=1.1, repeats=15),
    "C": Case(layers="64,1024x64,10", batch=1024, reach=1.1, reach_recomputing=1.1, repeats=3),
    "D": Case(layers="64,128x256,10", batch=4096, reach=1.2, reach_recomputing=1.15, repeats=7),
}


def memory_floor_bytes(chain: Chain, checkpoint_frequency: int | None) -> int:
    """Most bytes over the backward steps: the afters that are held, one delta and the parameter deltas made so far.

    At layer l's step every n-th after below l is held, and those of the segment of l-1, which are recomputed together;
    for the last layer, whose after[L-1] the forward pass has just left, that one alone.
    """
    n = checkpoint_frequency or 1
    floor = parameter_deltas = 0
    for layer in range(chain.depth, 0, -1):
        parameter_deltas += chain.parameter_delta_bytes[layer]
        segment = range((layer - 1) // n * n, layer) if layer < chain.depth else [layer - 1]
        held = {*range(0, layer, n), *segment}
        afters = sum(chain.after_bytes[position] for position in held)
        floor = max(floor, afters + chain.delta_bytes[layer] + parameter_deltas)
    return floor


def memory_bound_bytes(floor_bytes: int) -> int:
    """What a step may take at most: 2 % more than its floor, and 64 KiB for the small and fixed."""
    return floor_bytes * 102 // 100 + 64 * 1024


def run_worker(settings: str, *, threads: int, **configuration: Any) -> dict[str, Any]:
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment = {**inherited, **MEASURES[settings].variables, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    command = (sys.executable, "-m", "benchmarks.step_worker", json.dumps(configuration | {"threads": threads}))
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def measure(name: str, checkpoint_frequency: int | None, threads: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Measure the peak of a case's step once, and its time on each number of `threads`: a row each."""
    case, chain = CASES[name], CASES[name].chain
    configuration = {"layers": chain.layers, "batch": case.batch, "checkpoint_frequency": checkpoint_frequency}
    peak = run_worker("memory", threads=1, repeats=0, **configuration)
    floor_bytes = memory_floor_bytes(chain, checkpoint_frequency)
    reach = case.reach if checkpoint_frequency is None else case.reach_recomputing
    for number in threads:
        yield {
            "case": name,
            "layers": case.layers,
            "batch": case.batch,
            "checkpoint_frequency": checkpoint_frequency,
            "threads": number,
            **run_worker("time", threads=number, repeats=case.repeats, **configuration),
            "ratio_to_reach": round(reach + MORE_AT_TWO_THREADS * (number > 1), 2),
            **peak,
            "floor_bytes": floor_bytes,
            "bound_bytes": memory_bound_bytes(floor_bytes),
        }


def table(rows: list[dict[str, Any]], *, style: box.Box) -> Table:
    """The measured rows for people; a paired ratio stands with its quartiles, and `!` marks what is not reached."""
    shown = Table(box=style, pad_edge=False)
    for column in COLUMNS:
        shown.add_column(column, justify="left" if column in ("case", "schedule") else "right")
    for row in rows:
        low, middle, high = ratio_quartiles(row["step_seconds"], row["floor_seconds"])
        least, kernels, most = ratio_quartiles(row["kernel_seconds"], row["kernel_floor_seconds"])
        frequency, floor, bound = row["checkpoint_frequency"], row["floor_bytes"], row["bound_bytes"]
        shown.add_row(
            row["case"],
            "store-all" if frequency is None else f"n = {frequency}",
            str(row["threads"]),
            f"{median(row['floor_seconds']) * 1e3:.4g} ms",
            f"{middle:.3f} ({low:.3f}-{high:.3f}){_missed(middle, row['ratio_to_reach'])}",
            f"{kernels:.3f} ({least:.3f}-{most:.3f}){_missed(kernels, row['ratio_to_reach'])}",
            f"{row['ratio_to_reach']:.2f}",
            f"{format_bytes(row['peak_bytes'])} ({row['peak_bytes'] / floor:.3f}){_missed(row['peak_bytes'], bound)}",
            format_bytes(floor),
            f"{bound / floor:.3f}",
        )
    return shown


def ratio_quartiles(seconds: list[float], floors: list[float]) -> list[float]:
    """The quartiles of measured times over those of the bare products that were run in turns with them."""
    return quantiles([one / floor for one, floor in zip(seconds, floors, strict=True)], n=4, method="inclusive")


def _missed(value: float, bound: float) -> str:
    return " !" if value > bound else ""


def main(
    case: Annotated[list[str] | None, typer.Option(help="A, B, C or D; may be repeated. Without it, all.")] = None,
    threads: Annotated[
        list[int] | None, typer.Option(min=1, help="BLAS threads; may be repeated. Without it, 1 and 2.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every repeat to this file.")] = None,
    markdown: Annotated[bool, typer.Option(help="Print the table as Markdown.")] = False,
) -> None:
    """Measure training steps against their bare matrix products and against the bytes they must hold."""
    cases, threads = case or list(CASES), threads or THREADS
    if unknown := set(cases) - CASES.keys():
        raise typer.BadParameter(f"must be one of {', '.join(CASES)}, got {', '.join(sorted(unknown))}")
    rows = []
    for name, frequency in product(cases, FREQUENCIES):
        rows += measure(name, frequency, threads)
        print(f"case {name}: {len(rows)} of {len(cases) * len(FREQUENCIES) * len(threads)}", file=sys.stderr)
    if json_file:
        json_file.write_text(json.dumps(rows, indent=1) + "\n")
    new_console().print(table(rows, style=box.MARKDOWN if markdown else box.SIMPLE_HEAD))


if __name__ == "__main__":
    typer.run(main)
