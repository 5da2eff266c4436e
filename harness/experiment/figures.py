"""The registry of figures: the tables that each needs, and its module in `harness/plots/`.

The registry is plain data, because importing the figures takes seconds. A wrong name or a missing table is found before
hours of measuring.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A figure of `harness/plots/`.

    Attributes:
        name: its name, and the name of the function that draws it.
        module: the module of that function in `harness/plots/`.
        needs: the tables that it is drawn from.
        also: optional tables.
    """

    name: str
    module: str
    needs: tuple[str, ...]
    also: tuple[str, ...] = ()


FIGURES: Mapping[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure("peak_by_depth", "memory", ("memory",)),
        Figure("saving_heatmap", "memory", ("memory",)),
        Figure("time_ratio", "time", ("memory", "time")),
        Figure("tradeoff", "time", ("memory", "time")),
        Figure("timeline", "timeline", ("timeline",)),
        Figure("predicted_vs_measured", "memory", ("memory",)),
        Figure("where_it_saves", "memory", ("memory",)),
        Figure("training_curves", "training", ("training",)),
        Figure("training_time", "time", ("training",)),
        Figure("pareto_work", "schedules", ("memory",), also=("time",)),
        Figure("pareto_time", "schedules", ("memory", "time")),
        Figure("winners", "schedules", ("memory", "time")),
        Figure("growth", "schedules", ("memory",)),
        Figure("resident_peak", "frameworks", ("memory", "resident")),
        Figure("peers_tradeoff", "frameworks", ("peers_memory", "peers_time")),
        Figure("peers_saving", "frameworks", ("peers_memory",)),
        Figure("peers_resident", "frameworks", ("peers_memory", "resident")),
        Figure("models_tradeoff", "models", ("models_memory", "models_time")),
        Figure("models_prediction", "models", ("models_memory",)),
        Figure("models_budget", "models", ("models_memory",)),
    )
}
"""All figures by name, in the order of lists."""
