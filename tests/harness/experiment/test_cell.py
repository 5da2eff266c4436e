"""Cells and jobs: names made from content, and nothing lost on the way to a worker."""

import json
from dataclasses import replace

import pytest

from harness.experiment.cell import PARAMETERS, Cell
from harness.experiment.job import Job

CELL = Cell(
    network="NetworkWithCheckpointing",
    layers="64,128x3,32,10",
    batch=256,
    dtype="float32",
    activation="relu",
    checkpoint_frequency=2,
    recompute="segment",
    schedule=None,
    seed=0,
)
SCHEDULED = replace(CELL, checkpoint_frequency=None, recompute=None, schedule="revolve(slots=4)")
OTHER_VALUES = {
    "network": "Network",
    "layers": "64,128x2,10",
    "batch": 257,
    "dtype": "float64",
    "activation": "tanh",
    "checkpoint_frequency": 3,
    "recompute": "each",
    "schedule": "revolve(slots=4)",
    "step": "train_step",
    "micro_batch": 64,
    "seed": 1,
    "peer": "torch.checkpoint",
}


def test_depth_is_the_number_of_layers_and_width_the_widest_hidden_one():
    assert (CELL.depth, CELL.width) == (5, 128)
    assert (replace(CELL, layers="64,10").depth, replace(CELL, layers="64,10").width) == (1, 0)


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_is_part_of_the_id(name):
    assert replace(CELL).cell_id == CELL.cell_id
    assert replace(CELL, **{name: OTHER_VALUES[name]}).cell_id != CELL.cell_id


def test_variants_of_one_configuration_share_their_store_all_cell():
    assert CELL.store_all == replace(CELL, checkpoint_frequency=4, recompute="each").store_all == SCHEDULED.store_all
    assert CELL.store_all.checkpointing == {}
    assert replace(CELL, step="train_step", micro_batch=64).store_all == CELL.store_all
    assert replace(CELL, seed=1).store_all != CELL.store_all


def test_a_cell_says_how_it_checkpoints():
    assert CELL.checkpointing == {"checkpoint_frequency": 2, "recompute": "segment"}
    assert SCHEDULED.checkpointing["schedule"].__name__ == "revolve(slots=4)"
    variants = [cell.variant for cell in (CELL.store_all, CELL, SCHEDULED)]
    assert variants == ["store-all", "checkpoint_frequency=2 recompute=segment", "revolve(slots=4)"]


def test_a_cell_says_how_its_step_ends_and_a_schedule_is_bound_to_a_part():
    trained = replace(SCHEDULED, step="train_step")
    assert (trained.variant, trained.chain.deltas_pile_up) == ("revolve(slots=4) train_step", False)
    part = replace(CELL.store_all, step="train_step", micro_batch=64)
    assert (part.variant, part.chain.batch, part.chain.part_of) == ("store-all micro_batch=64", 64, 256)


def test_a_job_survives_the_way_to_a_worker():
    job = Job(measure="time", cells=(CELL, CELL.store_all), settings={"repeats": 15, "order_seed": 0})
    assert Job.from_request(json.loads(json.dumps(job.request()))) == job
