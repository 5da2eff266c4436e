"""Tables as the harness reads those that it wrote, of layers without a name.

Memory and timelines are dry runs, with the few KiB that an interpreter adds; times are the work, with noise.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import accumulate, product
from typing import Any

import numpy as np
import pandas as pd

from harness.experiment.cell import Cell
from harness.experiment.job import Job, Outcome
from harness.experiment.model_cell import ModelCell, budget_between
from harness.experiment.model_grid import ModelGrid
from harness.experiment.prediction import trace_of
from harness.experiment.tables import ALLOCATORS
from harness.results.rows import key_columns, rows_of
from harness.results.schemas import parse_table
from harness.results.store import _csv as csv_of
from networks import Trace
from tests.support.cells import answer

DEPTHS = [f"64,128x{depth - 1},10" for depth in (8, 16, 32, 64, 128)]
"""Five networks of one width."""

TYPES = {"checkpoint_frequency": "Int64", "recompute": "str", "schedule": "str", "micro_batch": "Int64"}

Tables = dict[str, pd.DataFrame]


def grid(
    layers: Iterable[str], *, batches=(4096,), frequencies=(1, 2, 4, 8, 16), schedules=(), seeds=1, recompute="segment"
) -> list[Cell]:
    """For each network store-all, then the frequencies, then the schedules."""
    store_all = {"network": "Network", "checkpoint_frequency": None, "recompute": None, "schedule": None}
    other = store_all | {"network": "NetworkWithCheckpointing"}
    variants = [
        store_all,
        *(other | {"checkpoint_frequency": frequency, "recompute": recompute} for frequency in frequencies),
        *(other | {"schedule": schedule} for schedule in schedules),
    ]
    return [
        Cell(layers=text, batch=batch, dtype="float32", activation="relu", seed=seed, **variant)
        for text, batch, seed, variant in product(layers, batches, range(seeds), variants)
    ]


def trace(cell: Cell) -> Trace:
    return trace_of(cell)


def table(rows: Iterable[tuple[Cell, dict[str, Any]]]) -> pd.DataFrame:
    frame = pd.DataFrame([key_columns("memory", cell, "ok") | measured for cell, measured in rows])
    return frame.astype(TYPES).assign(chain="")


def memory_table(cells: list[Cell]) -> pd.DataFrame:
    jobs = (Job(measure="memory", cells=(cell,)) for cell in cells)
    rows = pd.DataFrame([row for job in jobs for row in rows_of(job, Outcome(answer(job)))])
    return rows.astype(TYPES).assign(chain="")


def time_table(cells: list[Cell], *, repeats: int = 15) -> pd.DataFrame:
    generator = np.random.default_rng(2)

    def measure(cell: Cell) -> Iterator[dict[str, Any]]:
        seconds = (trace(cell).forward_flops + 2 * trace(cell.store_all).forward_flops) / 1e11
        for repeat in range(repeats):
            yield {"repeat": repeat, "step_seconds": seconds * generator.lognormal(sigma=0.03)}

    return table((cell, row) for cell in cells for row in measure(cell))


def training_table(cells: list[Cell], *, epochs: int = 12) -> pd.DataFrame:
    generator = np.random.default_rng(3)

    def measure(cell: Cell) -> Iterator[dict[str, Any]]:
        for epoch in range(1, epochs + 1):
            loss = 2.3 * np.exp(-epoch / (2 + cell.depth / 4)) + 0.03 * cell.seed
            seconds = 1.0 if cell.network == "Network" else 1.2
            yield {
                "epoch": epoch,
                "train_loss": loss,
                "train_accuracy": 1 - loss / 3,
                "test_loss": loss + 0.1,
                "test_accuracy": 0.97 - loss / 3,
                "epoch_seconds": seconds * generator.lognormal(sigma=0.04),
            }

    return table((cell, row) for cell in cells for row in measure(cell))


def timeline_table(cells: list[Cell]) -> pd.DataFrame:
    def measure(cell: Cell) -> Iterator[dict[str, Any]]:
        events = trace(cell).timeline
        for i, (event, live) in enumerate(zip(events, accumulate(event.bytes for event in events), strict=True)):
            yield {"event": i, **event._asdict(), "live_bytes": live, "memray_live_bytes": live + 900 + 30 * i}

    return table((cell, row) for cell in cells for row in measure(cell))


CHAINS = ["64x20,10", "64,96x6,32x8,96x6,10", "64,32x8,64x6,96x6,10"]


def schedule_cells() -> list[Cell]:
    """Three networks, each trained by schedules of every kind."""
    taking = ("greedy(budget_bytes={})", "evicting(budget_bytes={}, heuristic='lru')", "optimal(budget_bytes={})")
    schedules = [text.format(budget) for text in taking for budget in (9_500_000, 13_000_000)]
    schedules += ["sqrt()", "revolve(slots=3)", "revolve(slots=6)", "optimal(budget_bytes=5000000)"]
    return grid(CHAINS, frequencies=(2, 6), schedules=schedules)


def framework_tables() -> dict[str, pd.DataFrame]:
    """Our own cells and two peers' on two networks: requested as predicted, resident a little more."""
    plain = grid(["64,128x8,10", "64,128x16,10"], batches=(1024,), frequencies=(4,))
    own = [replace(cell, step=step) for cell, step in product(plain, ("backward", "train_step"))]
    peers = [
        replace(cell, network=None, peer=peer, recompute=None)
        for cell, peer in product(plain, ("torch.store-all", "torch.checkpoint"))
        if (cell.checkpoint_frequency is not None) == (peer == "torch.checkpoint")
    ]
    cells = [*own, *peers]

    def peak(cell: Cell) -> int:
        return trace(replace(cell, peer=None, recompute="segment" if cell.checkpoint_frequency else None)).peak_bytes

    def rows(measure: Any) -> pd.DataFrame:
        return table(
            (cell, {"framework": cell.framework, "variant": cell.variant, **row})
            for cell in cells
            for row in measure(cell)
        )

    return {
        "peers_memory": rows(lambda cell: [{"memray_peak_bytes": peak(cell)}]),
        "resident": rows(
            lambda cell: [
                {"allocator": allocator, "repeat": repeat, "resident_peak_bytes": peak(cell) + repeat * 2**18}
                for allocator, repeat in product(ALLOCATORS, range(3))
            ]
        ),
        "peers_time": rows(
            lambda cell: [
                {"repeat": repeat, "step_seconds": peak(cell) / 1e9, "floor_seconds": peak(cell) / 2e9, "repeats": 15}
                for repeat in range(15)
            ]
        ),
        "memory": memory_table(own),
    }


PLAIN_BYTES = {
    "mlp": 36_000_000,
    "residual": 56_000_000,
    "encoder": 917_000_000,
    "unet": 48_000_000,
    "decoder": 76_000_000,
}


def model_cells() -> list[ModelCell]:
    """Five models, each plain, by PyTorch's own ways, and by plans within five budgets."""
    budgets = ["0%", "10%", "30%", "60%", "90%"]
    grids = [
        ModelGrid(
            model=[f"models/{name}.py:make"],
            torch_checkpoint=[1, 2, 4],
            torch_compile=[0.5],
            budget=budgets,
            gradients=["kept", "freed"],
        )
        for name in PLAIN_BYTES
    ]
    return [cell for one in grids for cell in one.cells()]


def model_rows(measure: str) -> list[dict[str, Any]]:
    """Rows of a table of models: the less memory a step takes, the longer it takes."""
    cells = [cell for cell in model_cells() if measure == "models_memory" or cell.gradients == "kept"]
    answered = [list(_model_row(cell, measure)) for cell in cells]
    return rows_of(Job(measure=measure, cells=tuple(cells)), Outcome(answered))


def _model_row(cell: ModelCell, measure: str) -> Iterator[dict[str, Any]]:
    plain_bytes = PLAIN_BYTES[cell.setting.partition(".")[0]]
    share = {"plain": 1.0, "torch_checkpoint(1)": 0.5, "torch_checkpoint(2)": 0.4, "torch_checkpoint(4)": 0.45}
    peak_bytes = int(plain_bytes * share.get(cell.variant, 0.8))
    told = {}
    if cell.budget is not None:
        budget_bytes = budget_between(plain_bytes // 3, plain_bytes, cell.budget)
        peak_bytes = int(0.998 * budget_bytes)
        told = {"budget_bytes": budget_bytes, "schedule": f"taped(budget_bytes={budget_bytes})"}
    if measure == "models_memory":
        compiled = cell.variant.startswith("torch_compile")
        expected = (
            {} if compiled else {"predicted_peak_bytes": int(1.001 * peak_bytes), "work": plain_bytes / peak_bytes}
        )
        allowance = {"allowance_bytes": 16_384, "smallest_budget_bytes": plain_bytes // 3} if told else {}
        yield {**told, **expected, **allowance, "peak_bytes": peak_bytes}
        return
    for repeat in range(15):
        ratio = 1.0 if cell.variant == "plain" else (plain_bytes / peak_bytes) ** 0.4 + 0.002 * (repeat % 5)
        yield {**told, "repeat": repeat, "position": repeat, "step_seconds": 0.1 * ratio, "time_ratio": ratio}


def model_tables() -> dict[str, pd.DataFrame]:
    """The tables of models, as they are read."""
    names = ("models_memory", "models_time")
    return {name: parse_table(name, csv_of(name, model_rows(name)), where=name) for name in names}
