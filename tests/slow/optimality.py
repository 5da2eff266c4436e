"""How far `optimal` is from the exhaustive oracle: `make optimality` prints it.

Random chains of 1 to 7 layers with unequal sizes and work, at every budget where the true optimum changes. Beside
the schedule that `optimal` answers with stand the oracle when it computes on demand only, as networks do, and the
persistent class alone, which `optimal` uses for deep chains. On chains too deep for the oracle, `optimal` stands beside
its lower bound. `taped` stands beside an oracle of its own, on random chains of blocks, and so does the persistent
class alone, which `taped` uses for deep chains.
"""

import argparse
import multiprocessing
from collections.abc import Callable
from functools import partial

import numpy as np

from networks.block_chain import BlockChain
from networks.chain import Chain
from networks.schedules import optimal, store_all
from networks.schedules._memory import Memory
from networks.schedules._persistent import PersistentProgramme
from networks.schedules.blocks import replay_blocks, taped
from networks.schedules.blocks._persistent import least_peak, least_work
from networks.schedules.blocks.taped import smallest_budget as smallest_block_budget
from networks.schedules.optimal import SLOTS, smallest_budget, work_bound
from networks.schedules.replay import replay
from tests.support.blocks import block_pareto_front, random_block_chain
from tests.support.oracle import pareto_front

MOST_LAYERS = 7
DEEP = 50, 100, 300
MIB = 2**20


def random_chain(seed: int, *, deltas_pile_up: bool = True) -> Chain:
    """A chain of 1 to 7 layers: widths 1 to 64 with runs of equal ones, a batch of 1 to 1024, either itemsize."""
    generator = np.random.default_rng(seed)
    depth = int(generator.integers(1, MOST_LAYERS + 1))
    choice = generator.integers(1, 65, size=generator.integers(2, depth + 2))
    layers = tuple(int(width) for width in generator.choice(choice, size=depth + 1))
    return Chain(layers, int(2 ** generator.uniform(0, 10)), int(generator.choice([4, 8])), deltas_pile_up)


def compare(seed: int, *, deltas_pile_up: bool = True) -> list[tuple[bool, float, float, float]]:
    """For each budget of one chain: was it passed, and work over the oracle's: `optimal`, on demand, persistent."""
    chain = random_chain(seed, deltas_pile_up=deltas_pile_up)
    on_demand = pareto_front(chain, on_demand=True)
    return [_compare(chain, budget, flops, on_demand) for budget, flops in pareto_front(chain)]


def _compare(
    chain: Chain, budget: int, flops: int, on_demand: list[tuple[int, int]]
) -> tuple[bool, float, float, float]:
    answer = replay(chain, optimal(budget_bytes=budget)(chain))
    best = min((work for peak, work in on_demand if peak <= budget), default=np.inf)
    memory = Memory(chain, budget, slots=SLOTS[-1])
    persistent = PersistentProgramme(chain, memory, range(chain.depth)).work(0) if memory.slots else np.inf
    return answer.peak_bytes > budget, answer.forward_flops / flops, best / flops, persistent / flops


def compare_blocks(seed: int, *, passing: bool = False) -> list[tuple[bool, float, float]]:
    """For each budget of one chain of blocks: was it passed, and work over the oracle's: `taped`, persistent."""
    chain = random_block_chain(seed, passing=passing)
    return [_compare_blocks(chain, budget, flops) for budget, flops in block_pareto_front(chain)]


def _compare_blocks(chain: BlockChain, budget: int, flops: int) -> tuple[bool, float, float]:
    classes = (
        (smallest_block_budget(chain), taped(budget_bytes=budget)),
        (least_peak(chain)[1].peak_bytes, partial(least_work, budget_bytes=budget)),
    )
    answers = [replay_blocks(chain, solve(chain)) if least <= budget else None for least, solve in classes]
    passed = any(answer.peak_bytes > budget for answer in answers if answer)
    taped_ratio, persistent_ratio = (answer.forward_flops / flops if answer else np.inf for answer in answers)
    return passed, taped_ratio, persistent_ratio


def compare_passing_blocks(seed: int) -> list[tuple[bool, float, float]]:
    """The same where blocks make several tensors, and pass some of those that they are given on."""
    return compare_blocks(seed, passing=True)


def deep_chain(depth: int) -> Chain:
    """Widths from 16 to 511, a batch of 4096, float32."""
    widths = np.random.default_rng(depth).integers(16, 512, size=depth + 1)
    return Chain(tuple(widths.tolist()), batch=4096, itemsize=4)


def deep_row(depth: int) -> str:
    """A row of the table in docs/optimality.md: a budget a quarter of the way from the least peak to store-all's."""
    chain = deep_chain(depth)
    everything = replay(chain, store_all()(chain))
    least = smallest_budget(chain)
    budget = least + (everything.peak_bytes - least) // 4
    answer = replay(chain, optimal(budget_bytes=budget)(chain))
    bound = work_bound(chain, budget)
    ratios = [answer.forward_flops / everything.forward_flops, bound / everything.forward_flops]
    return (
        f"| {depth} | {budget / MIB:.1f} | {answer.peak_bytes / MIB:.1f} | {ratios[0]:.3f} | {ratios[1]:.3f} "
        f"| {answer.forward_flops / bound - 1:.1%} |"
    )


def _compared(compare: Callable[[int], list[tuple[float, ...]]], chains: int) -> np.ndarray:
    """What `compare` says of the budgets of all chains, a row for each thing that it says."""
    with multiprocessing.Pool() as pool:
        cases = [case for cases in pool.imap_unordered(compare, range(chains), chunksize=50) for case in cases]
    return np.array(cases).T


def _line(name: str, ratio: np.ndarray) -> str:
    feasible = ratio[np.isfinite(ratio)]
    above = np.count_nonzero(feasible > 1)
    return (
        f"{name}: below the oracle at {np.count_nonzero(ratio < 1)} budgets, above it at {above} "
        f"({above / len(ratio):.3%}), worst work ratio {feasible.max():.3f}, "
        f"no schedule at {len(ratio) - len(feasible)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", type=int, default=10_000)
    chains = parser.parse_args().chains
    over, *ratios = _compared(compare, chains)
    print(
        f"{chains} chains of 1 to {MOST_LAYERS} layers, {len(over)} budgets: {int(over.sum())} plans above their budget"
    )
    for name, ratio in zip(("optimal", "oracle on demand", "persistent alone"), ratios, strict=True):
        print(_line(name, ratio))
    for compare_them, what in ((compare_blocks, "blocks"), (compare_passing_blocks, "blocks that pass tensors on")):
        over, *ratios = _compared(compare_them, chains)
        print(f"{chains} chains of 1 to 5 {what}, {len(over)} budgets: {int(over.sum())} plans above their budget")
        for name, ratio in zip(("taped", "persistent alone"), ratios, strict=True):
            print(_line(name, ratio))
    print("| layers | budget (MiB) | peak (MiB) | work over store-all's | bound on it | distance |")
    print("|---|---|---|---|---|---|")
    for depth in DEEP:
        print(deep_row(depth), flush=True)


if __name__ == "__main__":
    main()
