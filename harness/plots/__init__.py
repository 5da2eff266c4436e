"""The figures: tables in, matplotlib Figures out. Nothing here measures, loads or saves."""

from collections.abc import Iterable, Iterator

import pandas as pd
from matplotlib.figure import Figure

from harness.plots.frameworks import peers_resident, peers_saving, peers_tradeoff, resident_peak
from harness.plots.memory import peak_by_depth, predicted_vs_measured, saving_heatmap, where_it_saves
from harness.plots.schedules import growth, pareto_time, pareto_work, winners
from harness.plots.style import Recipe
from harness.plots.time import time_ratio, tradeoff, training_time
from harness.plots.timeline import timeline
from harness.plots.training import training_curves

FIGURES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        peak_by_depth,
        saving_heatmap,
        time_ratio,
        tradeoff,
        timeline,
        predicted_vs_measured,
        where_it_saves,
        training_curves,
        training_time,
        pareto_work,
        pareto_time,
        winners,
        growth,
        resident_peak,
        peers_tradeoff,
        peers_saving,
        peers_resident,
    )
}


def draw(tables: dict[str, pd.DataFrame], names: Iterable[str]) -> Iterator[tuple[str, Figure]]:
    """Draw the named figures one by one from `tables`: memory, time, training, timeline, those there are.

    Raises:
        ValueError: before anything is drawn, because a name is not in `FIGURES`, or a table that a figure needs
            is missing or holds no finished cell.
    """
    names = list(names)
    for name in names:
        if name not in FIGURES:
            raise ValueError(f"unknown figure {name!r}, there are: {', '.join(FIGURES)}")
        FIGURES[name].rows(tables)
    return ((name, FIGURES[name](tables)) for name in names)
