"""`python -m tests.support.ddp_worker FOLDER RANK`: train under DistributedDataParallel plainly and under schedules.

Two processes meet at a file in FOLDER, and talk over the loopback interface by gloo.
"""

import copy
import sys
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from networks.torch_models.planned_model import planned
from tests.support.planned_models import measured_plan
from tests.support.torch_chains import SCHEDULES, Chained, assert_same_bits, gradients, mean_square

SHALLOW = [SCHEDULES[name](9) for name in ("nothing held", "revolve(slots=2)", "reruns keep", "chance, half")]
DEEP = [SCHEDULES["halving"](17)]
"""Reruns nest four deep."""


def layers(depth):
    torch.manual_seed(0)
    stages = (nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2)) for _ in range(depth - 1))
    return Chained(*stages, nn.Linear(8, 2))


class Branched(nn.Module):
    """A chain, and a branch whose parameters some steps do not use."""

    def __init__(self, chain):
        super().__init__()
        self.chain, self.branch = chain, nn.Linear(2, 2)

    def forward(self, x, keep, branch):
        (output,) = self.chain(x, keep=keep)
        return (self.branch(output) if branch else output,)


class Listed(nn.Module):
    """The same chain, for a plan. It takes what `Branched` takes."""

    def __init__(self, chain):
        super().__init__()
        self.stages = chain.stages

    def forward(self, x, keep, branch):
        for stage in self.stages:
            x = stage(x)
        return (x,)


def trained(model, rank, keep, *, accumulates=False, **settings):
    """Three steps on data of this rank; the branch is used in the second where it may be left out."""
    parallel = DistributedDataParallel(model, bucket_cap_mb=0.0005, **settings)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.manual_seed(10 + rank)
    seen = []
    for step in range(3):
        optimiser.zero_grad()
        for part in range(2 if accumulates else 1):
            with parallel.no_sync() if accumulates and part == 0 else nullcontext():
                unused = settings.get("find_unused_parameters") and step != 1
                mean_square(parallel(torch.randn(4, 8), keep, not unused)).backward()
        seen += gradients(model)
        optimiser.step()
    return [*seen, *(p.detach().clone() for p in model.parameters()), *model.buffers(), torch.get_rng_state()]


WAYS = (
    {},
    {"accumulates": True},
    {"static_graph": True},
    {"find_unused_parameters": True},
    {"gradient_as_bucket_view": True},
)


def main(folder: str, rank: int) -> None:
    torch.set_num_threads(1)
    store = distributed.FileStore(str(Path(folder, "meeting")), 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    for way, depth, keeps in [*((way, 9, SHALLOW) for way in WAYS), (WAYS[-1], 17, DEEP)]:
        model = Branched(layers(depth))
        expected = trained(copy.deepcopy(model), rank, None, **way)
        for keep in keeps:
            assert_same_bits(trained(copy.deepcopy(model), rank, keep, **way), expected)
    model = Listed(layers(9))
    for cut in ("stages", "auto"):
        plan = measured_plan(model, (torch.randn(4, 8), None, True), cut, share=0)
        for way in ({}, {"static_graph": True, "gradient_as_bucket_view": True}):
            expected = trained(copy.deepcopy(model), rank, None, **way)
            assert_same_bits(trained(planned(copy.deepcopy(model), plan), rank, None, **way), expected)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
