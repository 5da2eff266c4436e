"""What a schedule is: a pure function over integers that says which activations to hold.

    schedule(chain)            -> keep
    keep(cached, start, stop)  -> the positions to hold from now on

A schedule is bound to a `Chain` (sizes and work of every layer) at each forward pass and gives `keep`. The
network asks it once for each stretch it is about to run: layers start+1..stop, from after[start], which is the
nearest one that is cached. `cached` maps every cached position to the forward operations executed since its
last use. The answer names the positions, out of `cached` and start+1..stop, to hold from now on; all others
go as soon as they have served. Position 0, the input, must be among them. The forward pass is the stretch 0..L,
and a recomputation is any later one, so one function covers both. The same arguments give the same answer.

A schedule that cannot serve a chain (a budget too small for it, say) raises ValueError when it is bound.
"""

from collections.abc import Callable, Collection, Mapping

from networks.chain import Chain

Keep = Callable[[Mapping[int, int], int, int], Collection[int]]
"""What a schedule makes of a chain: it says which positions to hold, each time layers are about to be run."""

Schedule = Callable[[Chain], Keep]
"""Says which activations to hold in a training step of a chain."""
