"""The baseline of every comparison: store-all of the same configuration, which is the columns `COMPARED`."""

import pandas as pd

from harness.analysis.variants import STORE_ALL_NETWORK

COMPARED = ["layers", "chain", "depth", "width", "batch", "dtype", "activation", "seed"]


def pareto_front(table: pd.DataFrame, costs: list[str]) -> pd.Series:
    """Which rows are on the Pareto front: no other row costs less in one of `costs` and no more in the others.

    Equal rows are both on the front.
    """
    values = table[costs].to_numpy(dtype="float64")
    no_worse = (values[:, None] <= values).all(axis=2)
    better = (values[:, None] < values).any(axis=2)
    return pd.Series(~(no_worse & better).any(axis=0), index=table.index)


def is_comparable(table: pd.DataFrame) -> bool:
    """Whether the table has a store-all row to compare with."""
    return bool(((table["network"] == STORE_ALL_NETWORK) & table["micro_batch"].isna()).any())


def has_store_all(table: pd.DataFrame) -> pd.Series:
    """For each row, whether the table has the store-all row to compare it with.

    Raises ValueError if the table has no store-all row at all.
    """
    compared = pd.MultiIndex.from_frame(_store_all(table)[COMPARED])
    return pd.Series(pd.MultiIndex.from_frame(table[COMPARED]).isin(compared), index=table.index)


def _store_all(table: pd.DataFrame) -> pd.DataFrame:
    whole = table[(table["network"] == STORE_ALL_NETWORK) & table["micro_batch"].isna()]
    if whole.empty:
        raise ValueError(f'no finished store-all cell to compare with: add network = "{STORE_ALL_NETWORK}" to the grid')
    return whole[whole["step"] == whole["step"].min()]


def _beside_store_all(table: pd.DataFrame, *, on: list[str] = COMPARED, **columns: str) -> pd.DataFrame:
    """Add columns (new name = old name) of the store-all row that agrees in `on`. Without such a row they are missing.

    The store-all row is of the whole batch, and by `backward` if the table has such a row.
    """
    store_all = _store_all(table)[[*on, *columns.values()]]
    store_all = store_all.rename(columns={old: new for new, old in columns.items()})
    return table.merge(store_all, on=on, how="left", validate="many_to_one")
