"""The peers command: one table of what every framework's step needs, from a folder of results."""

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from harness.page import page

MIB = 2**20


def peers_command(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="A folder that `make peers` wrote.")] = Path(
        "results/peers"
    ),
) -> None:
    """Print what every framework's step needs in memory and time, a row a variant.

    Peaks are in MiB, and of resident ones the medians; `blocks` are the live ones of an after's size at the peak.
    """
    from harness.frameworks import CASE, resident_peaks, savings, step_times
    from harness.schemas import read_table
    from harness.tables import ALLOCATORS

    memory, resident, time = (
        read_table(results / f"{name}.csv") for name in ("peers_memory", "resident", "peers_time")
    )
    memory = savings(memory)
    finished = resident[resident["status"] == "ok"]
    peaks = resident_peaks(memory, finished).pivot(index="cell_id", columns="allocator", values="resident_bytes")
    times = step_times(time[time["status"] == "ok"]).set_index("cell_id")
    columns = [
        "step",
        "peak",
        "saved",
        "promised",
        *(f"resident, {name.removeprefix('glibc_').replace('_', ' ')}" for name in ALLOCATORS),
    ]
    columns += ["forwards", "products", "blocks", "ms", "floor ms", "over floor", "repeats"]
    for (layers, batch), rows in memory.groupby(CASE, sort=False):
        table = Table(title=f"[{layers}], batch {batch}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column, justify="left" if column == "step" else "right", overflow="fold")
        for row in rows.join(peaks, on="cell_id").join(times, on="cell_id").to_dict("records"):
            if row["status"] != "ok":
                table.add_row(row["name"], row["error"])
                continue
            table.add_row(
                row["name"],
                f"{row['memray_peak_bytes'] / MIB:.1f}",
                _filled(row["saved_share"], ".0%"),
                _filled(row["promised_share"], ".0%"),
                *(_filled(row[name] / MIB, ".1f") for name in ALLOCATORS),
                str(row["forward_steps"]),
                str(row["executed_products"]),
                str(row["activation_blocks_at_peak"]),
                _filled(1e3 * row["step_seconds"], ".1f"),
                _filled(1e3 * row["floor_seconds"], ".1f"),
                _filled(row["over_floor"], ".2f"),
                _filled(row["repeats"], ".0f"),
            )
        page().print(table)


def _filled(value: float, form: str) -> str:
    return "" if value != value else format(value, form)
