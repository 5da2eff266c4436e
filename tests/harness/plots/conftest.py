"""The tables that figures are drawn from."""

import pytest

from tests.support.tables import (
    DEPTHS,
    Tables,
    framework_tables,
    grid,
    memory_table,
    model_tables,
    schedule_cells,
    time_table,
    timeline_table,
    training_table,
)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return {
        "memory": memory_table(grid(DEPTHS)),
        "time": time_table(grid(DEPTHS)),
        "timeline": timeline_table(grid(DEPTHS[2:3])),
        "training": training_table(
            grid(["64,128,64,10", "64,128x7,10", "64,64x15,10"], batches=(64,), frequencies=(2, 4), seeds=3)
        ),
    }


@pytest.fixture(scope="module")
def batch_by_width() -> Tables:
    layers = [f"64,{width}x31,10" for width in (64, 128, 256, 512, 1024)]
    return {"memory": memory_table(grid(layers, batches=(64, 256, 1024, 4096), frequencies=(2, 6)))}


@pytest.fixture(scope="module")
def schedules() -> Tables:
    return {"memory": memory_table(schedule_cells()), "time": time_table(schedule_cells())}


@pytest.fixture
def tables_of(tables: Tables, batch_by_width: Tables, schedules: Tables):
    special = dict.fromkeys(("pareto_work", "pareto_time", "winners", "growth"), schedules)
    special |= dict.fromkeys(("resident_peak", "peers_tradeoff", "peers_saving", "peers_resident"), framework_tables())
    special |= dict.fromkeys(("models_tradeoff", "models_prediction", "models_budget"), model_tables())
    return lambda name: (special | {"where_it_saves": batch_by_width}).get(name, tables)
