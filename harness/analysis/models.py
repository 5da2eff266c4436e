"""Analysis of tables of users' PyTorch models. All rows must be of finished cells."""

import pandas as pd

from harness.analysis.time import median_interval

PROMISED = {"kept": 0.005, "freed": 0.01}
"""The promised distance of a prediction from the measured peak, as a share of it, by the kind of gradients."""


def with_names(table: pd.DataFrame) -> pd.DataFrame:
    """Add `name`, the model in words, `kind`, the variant without its number, and `number`."""
    names = table["model"].str.rpartition("/")[2].str.removesuffix(".py:make")
    parts = table["variant"].str.partition("(")
    return table.assign(name=names, kind=parts[0], number=parts[2].str.removesuffix(")"))


def with_times(memory: pd.DataFrame, time: pd.DataFrame) -> pd.DataFrame:
    """The cells in both tables: peaks, and the median `time_ratio` over plain autograd with its interval."""
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
    """The planned steps, and `spare_share`: the share of the budget above the measured peak. Negative over budget."""
    own = with_names(memory.dropna(subset="budget_bytes"))
    return own.assign(spare_share=1 - (own["peak_bytes"] / own["budget_bytes"]).astype("float64"))


def predicted(memory: pd.DataFrame) -> pd.DataFrame:
    """The cells with a prediction, and `error`: its distance from the measured peak, as a share of the peak."""
    told = with_names(memory.dropna(subset="predicted_peak_bytes"))
    return told.assign(error=(told["predicted_peak_bytes"] / told["peak_bytes"]).astype("float64") - 1)
