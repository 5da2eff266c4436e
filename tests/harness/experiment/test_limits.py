"""How long a worker is waited for."""

import subprocess

import pytest

from harness.experiment.limits import LONGEST_SECONDS, NO_LIMITS, Limits


@pytest.mark.parametrize(
    ("timeout", "cells", "seconds"),
    [(7, 1, 7), (0.5, 4, 2), (86_400, 25, LONGEST_SECONDS), (LONGEST_SECONDS, 2**70, LONGEST_SECONDS), (7, 0, None)],
)
def test_a_worker_has_the_limit_for_each_of_its_cells_and_24_days_at_most(timeout, cells, seconds):
    assert Limits(timeout=timeout).seconds(cells) == seconds
    assert NO_LIMITS.seconds(cells) is None


def test_the_system_can_wait_for_the_longest_limit():
    subprocess.run(["true"], capture_output=True, check=True, timeout=LONGEST_SECONDS)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), LONGEST_SECONDS + 1, 10**100])
def test_a_limit_that_cannot_be_kept_is_refused(timeout):
    with pytest.raises(ValueError, match="timeout must be a number of seconds above 0 and at most 2073600"):
        Limits(timeout=timeout)
