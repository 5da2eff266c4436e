"""Steps of random networks under memray: `python -m tests.slow.measured_plans KIND SEED COUNT`.

KIND is `plans` of random networks, or `schedules` of every kind on deep chains of small buffers, where the
interpreter's objects weigh most, or `parts` of batches on such chains. One process measures them one after the other,
in the environment of memory cells, and prints a line of JSON for each.
"""

import gc
import json
import sys
from typing import Any

import numpy as np

from harness.worker import probes
from networks import Network, NetworkWithCheckpointing, dry_run, plan
from networks.chain import Chain
from networks.optimizers import SGD
from networks.planning.allowance import allowance_bytes
from networks.schedules import Schedule, evicting, greedy, optimal, periodic, revolve, store_all
from networks.schedules.evicting import HEURISTICS
from networks.schedules.optimal import smallest_budget
from networks.schedules.replay import replay
from networks.trace import STEPS

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
    step = str(generator.choice(STEPS))
    most = dry_run(layers, step=step, **network).peak_bytes + 64 * 1024
    least = plan(layers, budget_bytes=2**60, step=step, **network).smallest_budget_bytes
    budgets = [least, least + int(generator.integers(max(most - least, 1)))]
    plans = [plan(layers, budget_bytes=budget_bytes, step=step, **network) for budget_bytes in budgets]
    chosen = int(generator.integers(2))
    found = plans[chosen]
    return {
        "layers": layers,
        **network,
        "step": step,
        "schedule": found.schedule.__name__,
        "smallest": chosen == 0,
        "budget_bytes": budgets[chosen],
        "predicted_peak_bytes": found.predicted_peak_bytes,
        "allowance_bytes": found.allowance_bytes,
        **_measured(
            NetworkWithCheckpointing(layers, schedule=found.schedule, dtype=network["dtype"]), batch, step=step
        ),
        "forward_flops_of_rising_budgets": [one.forward_flops for one in plans],
    }


def measured_schedule(generator: np.random.Generator) -> dict[str, Any]:
    """Measure one schedule on one deep chain whose buffers are smaller than a kilobyte, or little larger."""
    layers = _deep_layers(generator, least=17)
    batch, dtype = int(2 ** generator.uniform(0, 8)), str(generator.choice(["float32", "float64"]))
    step = str(generator.choice(STEPS))
    chain = Chain(tuple(layers), batch, np.dtype(dtype).itemsize, deltas_pile_up=step == "backward")
    schedule = _random_schedule(generator, chain)
    return _predicted_and_measured(layers, batch, dtype, schedule=schedule, step=step)


def measured_parts(generator: np.random.Generator) -> dict[str, Any]:
    """Measure a step by two to 64 parts, without a schedule or with one."""
    layers = _deep_layers(generator, least=1)
    batch, dtype = int(2 ** generator.uniform(1, 9)), str(generator.choice(["float32", "float64"]))
    rows = max(1, int(batch / 2 ** generator.uniform(0.1, 6)))
    part = Chain(tuple(layers), rows, np.dtype(dtype).itemsize, deltas_pile_up=False, part_of=batch)
    schedule = _random_schedule(generator, part) if generator.integers(2) else None
    return _predicted_and_measured(layers, batch, dtype, schedule=schedule, step="train_step", micro_batch=rows)


def _deep_layers(generator: np.random.Generator, *, least: int) -> list[int]:
    repeated = generator.integers(1, 48, size=generator.integers(1, 7)).tolist()
    return [*repeated * -(-int(generator.integers(least, 129)) // len(repeated)), int(generator.integers(1, 20))]


def _predicted_and_measured(
    layers: list[int], batch: int, dtype: str, *, schedule: Schedule | None, **step: str | int
) -> dict[str, Any]:
    trace = dry_run(layers, batch=batch, dtype=dtype, schedule=schedule, **step)
    checkpointed = {} if schedule is None else {"schedule": schedule}
    network = NetworkWithCheckpointing if checkpointed else Network
    return {
        "layers": layers,
        "batch": batch,
        "dtype": dtype,
        **step,
        "schedule": "store_all()" if schedule is None else schedule.__name__,
        "predicted_peak_bytes": trace.peak_bytes,
        "allowance_bytes": allowance_bytes(trace),
        **_measured(network(layers, dtype=dtype, **checkpointed), batch, **step),
    }


def _random_schedule(generator: np.random.Generator, chain: Chain) -> Schedule:
    least = smallest_budget(chain)
    most = replay(chain, store_all()(chain)).peak_bytes
    budget_bytes = least + int(generator.integers(most - least + 1))
    n = int(generator.integers(2, 20))
    schedules = [store_all(), revolve(slots=n), periodic(n), periodic(n, recompute="each")]
    schedules += [optimal(budget_bytes=budget_bytes), greedy(budget_bytes=budget_bytes)]
    schedules += [evicting(budget_bytes=budget_bytes, heuristic=heuristic) for heuristic in HEURISTICS]
    schedule = schedules[generator.integers(len(schedules))]
    try:
        schedule(chain)
    except ValueError:  # greedy and evicting cannot serve every budget
        return optimal(budget_bytes=budget_bytes)
    return schedule


def _measured(
    network: Network | NetworkWithCheckpointing, batch: int, *, step: str, micro_batch: int | None = None
) -> dict[str, int]:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((batch, network.layers[0]), dtype=network.dtype)
    y = generator.integers(network.layers[-1], size=batch)
    optimizer = SGD(learning_rate=0)

    def run() -> Any:
        if step == "train_step":
            return network.train_step(x, y, optimizer, micro_batch=micro_batch)
        return network.forward(x), network.backward(y)

    run()  # warms up
    peak = probes.peak_memory(run)
    return {"memray_peak_bytes": peak["memray_peak_bytes"], "tracker_peak_bytes": network.tracker.peak_bytes}


if __name__ == "__main__":
    kind, seed, count = sys.argv[1], *map(int, sys.argv[2:])
    measure = {"plans": measured_plan, "schedules": measured_schedule, "parts": measured_parts}[kind]
    generator = np.random.default_rng(seed)
    gc.freeze()  # each measurement collects garbage, and need not look through all that is imported
    for _ in range(count):
        print(json.dumps(measure(generator)), flush=True)
