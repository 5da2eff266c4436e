"""The measure of training: it learns the digits."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from harness.experiment.cell import Cell
from harness.experiment.job import Job, Row
from harness.worker import probes
from harness.worker.steps.networks import build_network
from harness.worker.time import interleaved
from networks.optimizers import SGD
from networks.training import Epoch, train_epochs

TEST_ROWS = 360  # of the 1797 digits: a fifth


def measure_training(job: Job) -> list[list[Row]]:
    """Loss, accuracy and seconds of each epoch on the digits. The variants' epochs take turns."""
    cpu = probes.pin_to_one_cpu()
    trainings = [_digits_training(cell, job.settings) for cell in job.cells]
    rows: list[list[Row]] = [[] for _ in trainings]
    for _, _, variant in interleaved(len(trainings), job.settings["epochs"], job.settings["order_seed"]):
        with probes.quiet_heap():
            epoch = next(trainings[variant])
        rows[variant].append(
            {
                "epoch": epoch.number,
                "cpu": cpu,
                "train_loss": epoch.train_loss,
                "train_accuracy": epoch.train_accuracy,
                "test_loss": epoch.test_loss,
                "test_accuracy": epoch.test_accuracy,
                "epoch_seconds": epoch.seconds,
            }
        )
    return rows


def _digits_training(cell: Cell, settings: Mapping[str, Any]) -> Iterator[Epoch]:
    """Train the cell's network on the digits, and yield each epoch. The seed splits and shuffles the digits."""
    from sklearn.datasets import load_digits  # takes a second, which other measures do not need

    digits = load_digits()
    generator = np.random.default_rng(cell.seed)
    order = generator.permutation(len(digits.target))
    x, y = (digits.data[order] / digits.data.max()).astype(cell.dtype), digits.target[order]
    network = build_network(cell)
    network.forward(x[: cell.batch])
    network.backward(y[: cell.batch])  # a warm-up, which changes no weights
    return train_epochs(
        network,
        x[TEST_ROWS:],
        y[TEST_ROWS:],
        x_test=x[:TEST_ROWS],
        y_test=y[:TEST_ROWS],
        batch_size=cell.batch,
        micro_batch=cell.micro_batch,
        optimizer=SGD(learning_rate=settings["learning_rate"], momentum=settings["momentum"]),
        generator=generator,
        on_divergence="continue",  # a divergence is a result
    )
