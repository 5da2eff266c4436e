"""Analysis of tables of several frameworks: measured and promised savings, resident peaks, time over the floor.

Pure: a DataFrame in, a new one out. All rows must be of finished cells.
"""

import numpy as np
import pandas as pd

from harness.analysis.baseline import COMPARED
from harness.analysis.time import median_interval
from harness.analysis.variants import STORE_ALL_NETWORK
from harness.experiment.frameworks import FRAMEWORKS, OWN, STORE_ALL

WORKLOAD = ["layers", "batch"]
"""The columns that frameworks share in one case."""
SAME = [*COMPARED, "framework"]
"""The columns in which a variant and the plain step of its framework agree."""
WITHOUT_CHECKPOINTS = {STORE_ALL, *(framework.plain for framework in FRAMEWORKS.values())}
"""The plain variants, which use no checkpointing. Other variants of a framework are compared with them."""


def with_names(table: pd.DataFrame) -> pd.DataFrame:
    """Add `kind`, the variant without its numbers, and `name`, framework and variant in words."""
    own = table["schedule"].fillna("checkpoint").mask(table["network"] == STORE_ALL_NETWORK, STORE_ALL)
    own = own.mask(table["step"] == "train_step", "train_step")
    kinds = own.mask(table["network"].isna(), table["variant"].str.partition(" ")[0])
    schedules = table["schedule"].where(table["step"] == "train_step")
    numbers = _told(schedules, ", {}") + _told(table["checkpoint_frequency"], ", n = {}")
    numbers += _told(table["micro_batch"], ", micro-batch {}")
    numbers += _told(table["recompute"].where(table["recompute"] == "each"), ", {}")
    frameworks = table["framework"].replace(OWN, "ours")
    return table.assign(kind=kinds, name=frameworks + " " + kinds.str.replace("_", " ") + numbers)


def _told(values: pd.Series, form: str) -> pd.Series:
    told = ["" if pd.isna(value) else form.format(value) for value in values]
    return pd.Series(told, index=values.index, dtype="str")


def peers_savings(memory: pd.DataFrame) -> pd.DataFrame:
    """Add `saved_share`, measured against the same framework's plain step, and the `promised_share` of segments.

    Store-all holds H hidden outputs and one gradient. Segments of n hold ceil(H / n) checkpoints, the n outputs of one
    segment, and one gradient. Both columns are missing if a variant has no n, or its framework no plain step.
    """
    table = with_names(memory)
    plain = table.loc[table["kind"].isin(WITHOUT_CHECKPOINTS), [*SAME, "memray_peak_bytes"]]
    plain = plain.rename(columns={"memray_peak_bytes": "plain_bytes"})
    table = table.merge(plain, on=SAME, how="left", validate="many_to_one")
    hidden = table["depth"] - 1
    n = table["checkpoint_frequency"]
    held = -(-hidden // n) + n + 1  # hidden / n is rounded up
    return table.assign(
        saved_share=1 - (table["memray_peak_bytes"] / table["plain_bytes"]).astype("float64"),
        promised_share=1 - (held / (hidden + 1)).astype("float64"),
    )


def has_plain(memory: pd.DataFrame) -> pd.Series:
    """For each row, whether the table has the plain step of its framework."""
    plain = memory.loc[with_names(memory)["kind"].isin(WITHOUT_CHECKPOINTS), SAME]
    return pd.Series(pd.MultiIndex.from_frame(memory[SAME]).isin(pd.MultiIndex.from_frame(plain)), index=memory.index)


def resident_peaks(memory: pd.DataFrame, resident: pd.DataFrame) -> pd.DataFrame:
    """Requested and resident peaks: a row for each cell and allocator, with median and extremes of repeats.

    `memory` is memory.csv or peers_memory.csv. New columns: `requested_bytes`, `resident_bytes`, `resident_low_bytes`,
    `resident_high_bytes`, and `kept_bytes`: resident beyond requested, because the allocator does not give it back.
    """
    by = ["cell_id", "allocator"]
    peaks = resident.groupby(by, sort=False)["resident_peak_bytes"].agg(["median", "min", "max"]).reset_index()
    peaks = peaks.rename(
        columns={"median": "resident_bytes", "min": "resident_low_bytes", "max": "resident_high_bytes"}
    )
    cells = with_names(resident).drop_duplicates("cell_id")[
        ["cell_id", *WORKLOAD, "chain", "depth", "framework", "kind", "name"]
    ]
    requested = memory[["cell_id", "memray_peak_bytes"]].rename(columns={"memray_peak_bytes": "requested_bytes"})
    table = cells.merge(requested, on="cell_id").merge(peaks, on="cell_id")
    return table.assign(kept_bytes=table["resident_bytes"] - table["requested_bytes"])


def step_times(time: pd.DataFrame) -> pd.DataFrame:
    """A row for each cell: medians of step and floor, and `over_floor`, the median of their ratios, with interval."""
    rows = []
    for cell_id, repeats in time.groupby("cell_id", sort=False):
        ratios = (repeats["step_seconds"] / repeats["floor_seconds"]).to_numpy()
        low, high = median_interval(ratios)
        rows.append(
            {
                "cell_id": cell_id,
                "step_seconds": repeats["step_seconds"].median(),
                "floor_seconds": repeats["floor_seconds"].median(),
                "over_floor": np.median(ratios),
                "over_floor_low": low,
                "over_floor_high": high,
                "repeats": len(repeats),
            }
        )
    return pd.DataFrame(rows)
