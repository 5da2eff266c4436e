"""What gradients of parameters that several parts of a step use take, against a backward pass that is simulated."""

import random

import pytest

torch = pytest.importorskip("torch")

from torch import nn

from harness.worker.models.sharing import Sharing, gradients_bytes
from networks.block_chain import Block, BlockChain

BLOCKS, PARAMETERS = 6, 5


def simulated(uses: list[set[int]], sizes: list[int], *, kept: bool) -> list[int]:
    """Bytes of gradients before the backward pass of block L, .., block 1, and of the code before the blocks.

    Those of parameters that the code after the blocks uses are not counted where that is measured with that code.
    """
    alive: set[int] = set()
    counted = []
    for part in range(BLOCKS + 1, -1, -1):
        outside = {one for one in alive if BLOCKS + 1 in uses[one] and (kept or 0 in uses[one])}
        counted.append(sum(sizes[one] for one in alive - outside))
        alive |= {one for one, parts in enumerate(uses) if part in parts}
        alive -= {one for one, parts in enumerate(uses) if not kept and min(parts, default=part) == part}
    return counted[1:]


@pytest.mark.parametrize("seed", range(30))
def test_the_sums_of_gradients_are_those_of_a_simulated_backward_pass(seed):
    choice = random.Random(seed)
    uses = [{part for part in range(BLOCKS + 2) if choice.random() < 0.4} for _ in range(PARAMETERS)]
    sizes = [4 * 10**number for number in range(PARAMETERS)]
    model = nn.ParameterList(nn.Parameter(torch.zeros(size // 4)) for size in sizes)
    parts = [[model[one] for one, of in enumerate(uses) if part in of] for part in range(BLOCKS + 2)]
    sharing = Sharing(model, parts)

    def block(number: int) -> Block:
        nothing = ("tape_bytes", "run_bytes", "taped_run_bytes", "backward_bytes", "delta_bytes", "forward_flops")
        return Block(
            name=str(number),
            made_bytes=(0,),
            gradient_bytes=gradients_bytes(parts[number]),
            added_gradient_bytes=gradients_bytes(sharing.of(number).above),
            waiting_gradient_bytes=sharing.waiting_bytes(number),
            **dict.fromkeys(nothing, 0),
        )

    blocks = tuple(block(number) for number in range(1, BLOCKS + 1))
    kept = BlockChain(blocks=blocks, loss_forward_bytes=0, loss_backward_bytes=0)
    freed = BlockChain(blocks=blocks, loss_forward_bytes=0, loss_backward_bytes=0, gradients_pile_up=False)
    assert [*reversed(kept.waiting_bytes)] == simulated(uses, sizes, kept=True)
    assert [*reversed(freed.waiting_bytes[1:]), sharing.waiting_bytes(0)] == simulated(uses, sizes, kept=False)
