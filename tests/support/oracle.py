"""The exhaustive oracle for schedules: every way to run a training step of a short chain, one move at a time.

A state is the set of afters held and the layer whose backward step is next. The moves compute an after from one that is
held, beside it or (where the byte model allows) over it; drop one; or serve the next backward step. Nothing here knows
of schedules, segments or stretches; the sizes of values are those of `Chain`, which memray holds to account.
"""

import heapq
import itertools

from networks.chain import Chain


def pareto_front(chain: Chain, *, on_demand: bool = False) -> list[tuple[int, int]]:
    """All (peak bytes, forward flops) of which no other way of running the step has both less: by falling peak.

    With `on_demand`, of all ways that compute an after only while the one asked for is missing, as networks do.
    """
    depth, after = chain.depth, chain.after_bytes
    outputs, workspace, gradients = after[depth], chain.workspace_bytes, chain.parameter_delta_bytes
    forward = depth + 1  # the state in which the outputs are still to be computed

    def beside(layer: int) -> int:
        if layer == forward:
            return workspace
        return workspace + outputs + after[layer] + (sum(gradients[layer + 1 :]) if chain.deltas_pile_up else 0)

    def moves(held: frozenset[int], layer: int):
        """Yield (flops, peak, held, layer)."""
        live = beside(layer) + sum(after[position] for position in held)
        goal = depth - 1 if layer == forward else layer - 1
        if goal == 0 or goal in held:
            if layer == forward:
                yield chain.forward_flops[depth], live + 2 * outputs, held, depth
            else:
                yield 0, live + gradients[layer], held - {goal}, layer - 1
        idle = on_demand and layer != forward and (goal == 0 or goal in held)
        for source in () if idle else (0, *held):
            new = source + 1
            if new > goal or new in held:
                continue
            yield chain.forward_flops[new], live + after[new], held | {new}, layer
            equal = chain.layers[source] == chain.layers[new]
            if source > 0 and equal:
                yield chain.forward_flops[new], live, held - {source} | {new}, layer
        for position in held:
            yield 0, live, held - {position}, layer

    front: list[tuple[int, int]] = []
    least_peak: dict[tuple[frozenset[int], int], float] = {}
    order = itertools.count()
    queue = [(0, 0, next(order), frozenset(), forward)]
    while queue:
        flops, peak, _, held, layer = heapq.heappop(queue)
        if peak >= least_peak.get((held, layer), float("inf")):
            continue
        least_peak[held, layer] = peak
        if layer == 0:
            front.append((peak, flops))
            continue
        for more, live, new_held, new_layer in moves(held, layer):
            label = flops + more, max(peak, live)
            if label[1] < least_peak.get((new_held, new_layer), float("inf")):
                heapq.heappush(queue, (*label, next(order), new_held, new_layer))
    return front
