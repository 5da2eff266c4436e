"""Cells for the harness's tests."""

from harness.cell import Cell


def store_all_cell(layers: str, *, batch: int) -> Cell:
    """A cell of `Network`; `dataclasses.replace` makes the others from it."""
    return Cell(
        network="Network",
        layers=layers,
        batch=batch,
        dtype="float32",
        activation="relu",
        checkpoint_frequency=None,
        recompute=None,
        schedule=None,
        seed=0,
    )
