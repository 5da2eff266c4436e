"""Plans of random networks, each trained for a step under memray: `python -m tests.measured_plans SEED COUNT`.

One process measures them one after the other, in the environment of memory cells, and prints a line of JSON for each.
"""

import json
import sys
from typing import Any

import numpy as np

from harness import probes
from networks import NetworkWithCheckpointing, dry_run, plan

SHALLOW = [1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 6, 17, 18, 20, 24]
DEEP = [40, 64, 100, 128]
"""Plans of deep chains take seconds: one network in 64 is of these."""


def measured_plan(generator: np.random.Generator) -> dict[str, Any]:
    """Plan a random network for its smallest budget and a larger one, and measure one of the two plans."""
    depth = int(generator.choice(SHALLOW if generator.integers(64) else DEEP))
    widths = generator.integers(1, 129, size=depth + 1)
    if generator.integers(2):
        widths[1:-1] = widths[0]  # where widths are equal, afters slide in place
    layers, batch = widths.tolist(), int(2 ** generator.uniform(0, 12))
    network = {"batch": batch, "dtype": str(generator.choice(["float32", "float64"]))}
    most = dry_run(layers, **network).peak_bytes + 64 * 1024
    least = plan(layers, budget_bytes=2**60, **network).smallest_budget_bytes
    budgets = [least, least + int(generator.integers(max(most - least, 1)))]
    plans = [plan(layers, budget_bytes=budget_bytes, **network) for budget_bytes in budgets]
    chosen = int(generator.integers(2))
    found = plans[chosen]
    return {
        "layers": layers,
        **network,
        "schedule": found.schedule.__name__,
        "smallest": chosen == 0,
        "budget_bytes": budgets[chosen],
        "predicted_peak_bytes": found.predicted_peak_bytes,
        "allowance_bytes": found.allowance_bytes,
        **_measured(NetworkWithCheckpointing(layers, schedule=found.schedule, dtype=network["dtype"]), batch),
        "forward_flops_of_rising_budgets": [one.forward_flops for one in plans],
    }


def _measured(network: NetworkWithCheckpointing, batch: int) -> dict[str, int]:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((batch, network.layers[0]), dtype=network.dtype)
    y = generator.integers(network.layers[-1], size=batch)

    def step() -> tuple[Any, Any]:
        return network.forward(x), network.backward(y)

    step()  # warms up
    peak = probes.peak_memory(step)
    return {"memray_peak_bytes": peak["memray_peak_bytes"], "tracker_peak_bytes": network.tracker.peak_bytes}


if __name__ == "__main__":
    seed, count = map(int, sys.argv[1:])
    generator = np.random.default_rng(seed)
    for _ in range(count):
        print(json.dumps(measured_plan(generator)), flush=True)
