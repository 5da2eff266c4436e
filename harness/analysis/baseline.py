"""Every comparison is with store-all of the same configuration: the columns `COMPARED`."""

import pandas as pd

from harness.analysis.variants import STORE_ALL

COMPARED = ["layers", "chain", "depth", "width", "batch", "dtype", "activation", "seed"]


def pareto_front(table: pd.DataFrame, costs: list[str]) -> pd.Series:
    """Which rows no other row beats by costing no more in all of `costs` and less in one; equal rows both stay."""
    values = table[costs].to_numpy(dtype="float64")
    no_worse = (values[:, None] <= values).all(axis=2)
    better = (values[:, None] < values).any(axis=2)
    return pd.Series(~(no_worse & better).any(axis=0), index=table.index)


def is_comparable(table: pd.DataFrame) -> bool:
    """Whether the table has any store-all row, so that others can be compared with it."""
    return bool(((table["network"] == STORE_ALL) & table["micro_batch"].isna()).any())


def has_store_all(table: pd.DataFrame) -> pd.Series:
    """Whether the table has for each row the store-all row that it is compared with.

    Raises ValueError where it has none at all.
    """
    compared = pd.MultiIndex.from_frame(_store_all(table)[COMPARED])
    return pd.Series(pd.MultiIndex.from_frame(table[COMPARED]).isin(compared), index=table.index)


def _store_all(table: pd.DataFrame) -> pd.DataFrame:
    whole = table[(table["network"] == STORE_ALL) & table["micro_batch"].isna()]
    if whole.empty:
        raise ValueError(f'no finished store-all cell to compare with: add network = "{STORE_ALL}" to the grid')
    return whole[whole["step"] == whole["step"].min()]


def _beside_store_all(table: pd.DataFrame, *, on: list[str] = COMPARED, **columns: str) -> pd.DataFrame:
    """Add columns (new name = old name) of the store-all row that agrees in `on`, missing where there is none.

    It is that of the whole batch, by `backward` if the table has any such, so that no ratio is to another step.
    """
    store_all = _store_all(table)[[*on, *columns.values()]]
    store_all = store_all.rename(columns={old: new for new, old in columns.items()})
    return table.merge(store_all, on=on, how="left", validate="many_to_one")
