"""How far `optimal` is from the exhaustive oracle: `make optimality` prints it.

Random chains of 1 to 7 layers with unequal sizes and work, at every budget where the true optimum changes. Beside
the schedule that `optimal` answers with stands the persistent class alone, which it uses for deep chains.
"""

import argparse
import multiprocessing
from collections.abc import Iterator

import numpy as np

from networks.chain import Chain
from networks.schedules import optimal
from networks.schedules._memory import Memory
from networks.schedules._persistent import PersistentProgramme
from networks.schedules.optimal import SLOTS
from networks.schedules.replay import replay
from tests.oracle import pareto_front

MOST_LAYERS = 7


def random_chain(seed: int) -> Chain:
    """A chain of 1 to 7 layers: widths 1 to 64 with runs of equal ones, a batch of 1 to 1024, either itemsize."""
    generator = np.random.default_rng(seed)
    depth = int(generator.integers(1, MOST_LAYERS + 1))
    choice = generator.integers(1, 65, size=generator.integers(2, depth + 2))
    layers = tuple(int(width) for width in generator.choice(choice, size=depth + 1))
    return Chain(layers, int(2 ** generator.uniform(0, 10)), int(generator.choice([4, 8])))


def compare(seed: int) -> list[tuple[bool, float, float]]:
    """For each budget of one chain: whether a budget was passed, and work over the oracle's: optimal, persistent."""
    chain = random_chain(seed)
    return [_compare(chain, budget, flops) for budget, flops in pareto_front(chain)]


def _compare(chain: Chain, budget: int, flops: int) -> tuple[bool, float, float]:
    answer = replay(chain, optimal(budget_bytes=budget)(chain))
    memory = Memory(chain, budget, slots=SLOTS[-1])
    persistent = PersistentProgramme(chain, memory, range(chain.depth)).work(0) if memory.slots else np.inf
    return answer.peak_bytes > budget, answer.forward_flops / flops, persistent / flops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", type=int, default=10_000)
    chains = parser.parse_args().chains
    with multiprocessing.Pool() as pool:
        cases = [case for cases in pool.imap_unordered(compare, range(chains), chunksize=50) for case in cases]
    over = sum(passed for passed, _, _ in cases)
    print(f"{chains} chains of 1 to {MOST_LAYERS} layers, {len(cases)} budgets: {over} passed")
    for name, ratios in zip(("optimal", "persistent alone"), _ratios(cases), strict=True):
        feasible = ratios[np.isfinite(ratios)]
        above = np.count_nonzero(feasible > 1)
        print(
            f"{name}: below the oracle at {np.count_nonzero(ratios < 1)} budgets, above it at {above} "
            f"({above / len(cases):.3%}), worst work ratio {feasible.max():.3f}, none at {len(cases) - len(feasible)}"
        )


def _ratios(cases: list[tuple[bool, float, float]]) -> Iterator[np.ndarray]:
    yield np.array([case[1] for case in cases])
    yield np.array([case[2] for case in cases])


if __name__ == "__main__":
    main()
