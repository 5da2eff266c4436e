"""The cache event by event: the state of each buffer at each event of a step, from dry runs."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from harness.analysis.each_row import each_row
from harness.analysis.trace import PARAMETER_DELTAS, STATES, span_bytes, spans
from harness.analysis.variants import name_variants
from harness.experiment.cell import Cell
from harness.experiment.frameworks import OWN
from harness.experiment.prediction import trace_of
from harness.results.folder import Results
from networks.schedules.spec import is_strange


def rasters(sets: Iterable[tuple[Results, dict[str, pd.DataFrame]]]) -> dict[str, Any]:
    """Each network of the results with the steps of its schedules, each step once.

    Steps in parts are left out. Schedules of others are left out, because reading results runs only our own code.
    """
    networks: dict[str, dict[str, Any]] = {}
    for results, tables in sets:
        for name in ("memory", "peers_memory"):
            if name in tables:
                _add(networks, results, tables[name], tables.get("timeline"))
    return {"states": STATES, "networks": list(networks.values())}


def _add(
    networks: dict[str, dict[str, Any]], results: Results, memory: pd.DataFrame, timeline: pd.DataFrame | None
) -> None:
    own = memory[memory["network"].notna() & memory["micro_batch"].isna()]
    if "framework" in own:
        own = own[own["framework"] == OWN].drop(columns="variant")
    for row in each_row(name_variants(own)):
        if row["schedule"] == row["schedule"] and row["schedule"] is not None and is_strange(row["schedule"]):
            continue
        cell = results.cell_of({name: value for name, value in row.items() if name != "variant"})
        assert isinstance(cell, Cell)  # the tables are of networks
        label = f"{cell.layers}, batch {cell.batch:,}, {cell.dtype}"
        network = networks.setdefault(label, _network(cell, label))
        step = {"name": str(row["variant"]), "kind": str(row["kind"]), "step": cell.step}
        named = [one for one in network["steps"] if (one["name"], one["step"]) == (step["name"], step["step"])]
        if not named:
            network["steps"].append(step | _step(cell))
        if timeline is not None and cell.cell_id in set(timeline["cell_id"]):
            measured = timeline.loc[timeline["cell_id"] == cell.cell_id, "memray_live_bytes"]
            (named or network["steps"][-1:])[0]["memray"] = [int(nbytes) for nbytes in measured]


def _network(cell: Cell, label: str) -> dict[str, Any]:
    """A network, and the bytes of its buffers: the output and the weight gradients of each layer."""
    chain = cell.chain
    return {
        "label": label,
        "depth": cell.depth,
        "bytes": [chain.workspace_bytes, *(span_bytes(chain, layer, 0) for layer in range(1, chain.depth + 1))],
        "parameter_delta_bytes": [
            0,
            *(span_bytes(chain, layer, PARAMETER_DELTAS) for layer in range(1, chain.depth + 1)),
        ],
        "steps": [],
    }


def _step(cell: Cell) -> dict[str, Any]:
    """A step: its number of events, the first event of the backward pass, and its spans as four numbers each."""
    trace = trace_of(cell)
    timeline = trace.timeline
    return {
        "events": len(timeline),
        "backward": next(event for event, (phase, *_) in enumerate(timeline) if phase == "backward"),
        "peak_bytes": trace.peak_bytes,
        "forward_steps": trace.forward_steps,
        "spans": [number for span in spans(trace) for number in span],
    }
