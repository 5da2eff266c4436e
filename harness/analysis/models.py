"""What tables of PyTorch models of the user's say. All rows must be of finished cells."""

import pandas as pd

from harness.analysis.time import median_interval

PROMISED = {"kept": 0.005, "freed": 0.01}
"""How far a prediction may lie from what is measured, as a share of that, by what becomes of gradients."""


def with_names(table: pd.DataFrame) -> pd.DataFrame:
    """Add `name`, the model for people, `kind`, the variant without its number, and `number`."""
    names = table["model"].str.rpartition("/")[2].str.removesuffix(".py:make")
    parts = table["variant"].str.partition("(")
    return table.assign(name=names, kind=parts[0], number=parts[2].str.removesuffix(")"))


def with_times(memory: pd.DataFrame, time: pd.DataFrame) -> pd.DataFrame:
    """The cells that both tables have: peaks, and the median `time_ratio` over plain autograd with its interval."""
    ratios = time.groupby("cell_id", sort=False)["time_ratio"]
    intervals = ratios.apply(lambda values: median_interval(values.to_numpy()))
    told = pd.DataFrame(
        {
            "time_ratio": ratios.median(),
            "ratio_low": intervals.str[0],
            "ratio_high": intervals.str[1],
            "repeats": ratios.count(),
        }
    )
    return with_names(memory).merge(told, left_on="cell_id", right_index=True, validate="one_to_one")


def planned(memory: pd.DataFrame) -> pd.DataFrame:
    """Our own steps, and `room`: the share of the budget that the measured peak leaves, below 0 where it is over."""
    own = with_names(memory.dropna(subset="budget_bytes"))
    return own.assign(room=1 - (own["peak_bytes"] / own["budget_bytes"]).astype("float64"))


def predicted(memory: pd.DataFrame) -> pd.DataFrame:
    """The cells with a prediction, and `error`: its distance from the measured peak as a share of that."""
    told = with_names(memory.dropna(subset="predicted_peak_bytes"))
    return told.assign(error=(told["predicted_peak_bytes"] / told["peak_bytes"]).astype("float64") - 1)
