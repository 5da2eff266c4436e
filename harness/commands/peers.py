"""The peers command: one table with the memory and time of every framework's step."""

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.analysis.each_row import each_row
from harness.commands.console import new_console
from harness.commands.names import find_results, path_given
from harness.commands.tables import aligned
from harness.experiment.tables import ALLOCATORS
from harness.results.folder import read_results
from harness.sizes import MIB


def command(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", parser=path_given, help="A folder that `make peers` wrote.")
    ] = Path("results/peers"),
) -> None:
    """Print the memory and time of every framework's step, one row for each variant.

    Peaks are in MiB. A resident peak is the median of repeats. The first resident column is glibc's malloc as it is.
    `kept` is that minus the requested peak. `blocks` counts the blocks that are live at the peak and as
    large as a layer's output.
    """
    from harness.analysis.frameworks import WORKLOAD, peers_savings, resident_peaks, step_times

    results = find_results(results)
    tables = read_results(results).tables(("peers_memory", "resident", "peers_time"))
    if "peers_memory" not in tables:
        raise ValueError(f"{results}: holds no peers_memory.csv; run an experiment that measures peers_memory first")
    memory = peers_savings(tables["peers_memory"])
    # An experiment may leave out resident peaks and times.
    columns = []
    if "resident" in tables:
        resident = tables["resident"]
        peaks = resident_peaks(memory, resident[resident["status"] == "ok"])
        kept = peaks[peaks["allocator"] == ALLOCATORS[0]].set_index("cell_id")["kept_bytes"].astype("float64")
        peaks = peaks.pivot(index="cell_id", columns="allocator", values="resident_bytes")
        columns.append(peaks.reindex(columns=list(ALLOCATORS)).astype("float64").join(kept))
    if "peers_time" in tables:
        time = tables["peers_time"]
        columns.append(step_times(time[time["status"] == "ok"]).set_index("cell_id"))
    console = new_console()
    for (layers, batch), rows in memory.groupby(WORKLOAD, sort=False):
        measured = rows[rows["status"] == "ok"]
        for more in columns:
            measured = measured.join(more, on="cell_id")
        lines = [_line(row) for row in each_row(measured)]
        console.print(f"[{layers}], batch {batch}\n")
        if lines:
            console.print(aligned(lines, left=["step"], width=console.width))
        for row in each_row(rows[rows["status"] != "ok"]):
            console.print(f"{row['name']}: {row['error']}")
        console.print()


def _line(row: dict[str, Any]) -> dict[str, str]:
    """A line of the table, with the columns that the row has."""
    line = {
        "step": row["name"],
        "peak": f"{row['memray_peak_bytes'] / MIB:.1f}",
        "saved": _filled(row["saved_share"], ".0%"),
        "promised": _filled(row["promised_share"], ".0%"),
        "products": str(row["executed_products"]),
        "blocks": str(row["activation_blocks_at_peak"]),
    }
    if "kept_bytes" in row:
        line |= {f"resident,_{name.removeprefix('glibc_')}": _filled(row[name] / MIB, ".1f") for name in ALLOCATORS}
        line["kept"] = _filled(row["kept_bytes"] / MIB, ".1f")
    if "over_floor" in row:
        line["ms"] = _filled(1e3 * row["step_seconds"], ".1f")
        line["floor_ms"] = _filled(1e3 * row["floor_seconds"], ".1f")
        line["over_floor"] = _filled(row["over_floor"], ".2f")
        line["repeats"] = _filled(row["repeats"], ".0f")
    return line


def _filled(value: float, form: str) -> str:
    return "" if value != value else format(value, f"z{form}")
