"""The peers command: one table of what every framework's step needs, from a folder of results."""

from pathlib import Path
from typing import Annotated

import typer

from harness.page import aligned, page

MIB = 2**20


def peers_command(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="A folder that `make peers` wrote.")] = Path(
        "results/peers"
    ),
) -> None:
    """Print what every framework's step needs in memory and time, a row a variant.

    Peaks are in MiB, of resident ones the medians, first under glibc's malloc as it comes; `kept` is what is resident
    there and not requested. `blocks` are the live ones of an after's size at the peak.
    """
    from harness.frameworks import CASE, resident_peaks, savings, step_times
    from harness.schemas import read_table
    from harness.tables import ALLOCATORS

    memory, resident, time = (
        read_table(results / f"{name}.csv") for name in ("peers_memory", "resident", "peers_time")
    )
    memory = savings(memory)
    finished = resident[resident["status"] == "ok"]
    peaks = resident_peaks(memory, finished)
    kept = peaks[peaks["allocator"] == ALLOCATORS[0]].set_index("cell_id")["kept_bytes"].astype("float64")
    peaks = peaks.pivot(index="cell_id", columns="allocator", values="resident_bytes")
    peaks = peaks.reindex(columns=list(ALLOCATORS)).astype("float64").join(kept)
    times = step_times(time[time["status"] == "ok"]).set_index("cell_id")
    for (layers, batch), rows in memory.groupby(CASE, sort=False):
        measured = rows[rows["status"] == "ok"].join(peaks, on="cell_id").join(times, on="cell_id")
        lines = [
            {
                "step": row["name"],
                "peak": f"{row['memray_peak_bytes'] / MIB:.1f}",
                "saved": _filled(row["saved_share"], ".0%"),
                "promised": _filled(row["promised_share"], ".0%"),
                **{f"resident,_{name.removeprefix('glibc_')}": _filled(row[name] / MIB, ".1f") for name in ALLOCATORS},
                "kept": _filled(row["kept_bytes"] / MIB, ".1f"),
                "products": str(row["executed_products"]),
                "blocks": str(row["activation_blocks_at_peak"]),
                "ms": _filled(1e3 * row["step_seconds"], ".1f"),
                "floor_ms": _filled(1e3 * row["floor_seconds"], ".1f"),
                "over_floor": _filled(row["over_floor"], ".2f"),
                "repeats": _filled(row["repeats"], ".0f"),
            }
            for row in measured.to_dict("records")
        ]
        page().print(f"[{layers}], batch {batch}\n")
        if lines:
            page().print(aligned(lines, left=["step"]))
        for row in rows[rows["status"] != "ok"].itertuples():
            page().print(f"{row.name}: {row.error}")
        page().print()


def _filled(value: float, form: str) -> str:
    return "" if value != value else format(value, form)
