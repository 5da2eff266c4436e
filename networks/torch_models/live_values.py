"""Where a traced graph may be cut: the positions at which few values are live."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.fx import Node

from networks.torch_models.storages import storage_bytes, storage_of

MOST_LIVE = 3
"""Values that cross a border at most. Values that share storage count once."""

LARGE_PART = 4
"""If a stretch between two borders makes more than one in this many bytes, more live values may cross inside it."""

DEAR_BORDER = 2
"""Where a stretch is opened, borders of more than this many times its smallest border's bytes are left out."""

MOST_TRACED_BLOCKS = 400
"""More blocks would keep a search for a schedule from ending within a minute."""


@dataclass(frozen=True)
class Cut:
    """A position in the graph: behind this many of its nodes, with the values that are live there."""

    after: int
    live: tuple[Node, ...]

    @property
    def storages(self) -> frozenset[int]:
        return frozenset(map(stored_in, self.live))

    @property
    def nbytes(self) -> int:
        """Bytes of the values, those that share storage counted once."""
        return storage_bytes(node.meta["val"] for node in self.live)


class LiveValues:
    """The nodes of a graph in order, and what is live behind each.

    What every block can fetch by itself does not count: parameters, buffers, constants and the caller's inputs. Neither
    does `data`: values that are computed from these alone, without random numbers or writes, and need no gradient. A
    mask is one.
    """

    def __init__(self, graph: torch.fx.Graph, trained: set[Node]):
        self.nodes = [node for node in graph.nodes if node.op == "call_function"]
        self.output = graph.output_node()
        needs = _need_gradients(self.nodes, trained)
        self.data = _data(self.nodes, needs)
        self._needs = needs
        self._made = [_bytes_made(node) for node in self.nodes]
        self._ends = self._last_uses()

    def _last_uses(self) -> dict[Node, int]:
        """The position of the last node that uses each value; the output comes last of all."""
        positions = {node: position for position, node in enumerate([*self.nodes, self.output])}
        return {node: max((positions[user] for user in node.users), default=-1) for node in self.nodes}

    def cuts(self) -> list[Cut]:
        """Where to cut: at one live value, and at more within a stretch that is a large part of the graph."""
        possible = self._possible()
        chosen = _apart([cut for cut in possible if len(cut.storages) == 1])
        for most in range(2, MOST_LIVE + 1):
            opened = set(chosen)
            for start, stop in self._large_stretches(chosen):
                inner = [cut for cut in possible if start < cut.after < stop and len(cut.storages) <= most]
                least = min((cut.nbytes for cut in inner), default=0)
                opened |= {cut for cut in inner if cut.nbytes <= DEAR_BORDER * least}
            chosen = _apart(sorted(opened, key=lambda cut: cut.after))
        return self._merged(chosen)

    def _possible(self) -> list[Cut]:
        cuts, live = [], dict[Node, None]()
        for position, node in enumerate(self.nodes[:-1]):
            live[node] = None
            live = {value: None for value in live if self._ends[value] > position}
            crossing = tuple(value for value in live if value not in self.data)
            if all(map(is_tensor, crossing)) and any(value in self._needs for value in crossing):
                cuts.append(Cut(position + 1, crossing))
        return cuts

    def _stretches(self, cuts: Sequence[Cut]) -> list[tuple[int, int]]:
        return list(pairwise([0, *(cut.after for cut in cuts), len(self.nodes)]))

    def _large_stretches(self, cuts: Sequence[Cut]) -> list[tuple[int, int]]:
        made, total = self._made, sum(self._made)
        return [(start, stop) for start, stop in self._stretches(cuts) if LARGE_PART * sum(made[start:stop]) > total]

    def _merged(self, cuts: list[Cut]) -> list[Cut]:
        """Leave out the cut whose two neighbouring stretches make the fewest bytes, until few enough are left."""
        while len(cuts) >= MOST_TRACED_BLOCKS:
            made = [sum(self._made[start:stop]) for start, stop in self._stretches(cuts)]
            both = list(map(sum, pairwise(made)))
            del cuts[both.index(min(both))]
        return cuts


def _apart(cuts: Sequence[Cut]) -> list[Cut]:
    """The cuts between which something is made.

    Of those with the same live values the first stays, so that what writes a buffer goes with the node that reads it.
    Of those with other views of the same storage the last stays, where all writes in place are done.
    """
    apart: list[Cut] = []
    for cut in cuts:
        if apart and cut.live == apart[-1].live:
            continue
        if apart and cut.storages == apart[-1].storages:
            apart.pop()
        apart.append(cut)
    return apart


def is_tensor(node: Node) -> bool:
    """Whether a node of the graph gives one tensor."""
    return isinstance(node.meta.get("val"), torch.Tensor)


def stored_in(node: Node) -> int:
    """A number for the storage of a node's value; values that share storage have the same."""
    return storage_of(node.meta["val"])


def _bytes_made(node: Node) -> int:
    """Bytes of a node's results, without those that share the storage of an argument."""
    given = {stored_in(argument) for argument in node.all_input_nodes if is_tensor(argument)}
    value = node.meta.get("val")
    results = [v for v in (value if isinstance(value, (tuple, list)) else [value]) if isinstance(v, torch.Tensor)]
    return sum(v.nbytes for v in results if storage_of(v) not in given)


def written_by(node: Node) -> list[Node]:
    """The arguments that an operation writes over."""
    schema = _schema(node)
    if schema is None:
        return []
    given = dict(zip((argument.name for argument in schema.arguments), node.args, strict=False)) | node.kwargs
    written = [argument.name for argument in schema.arguments if argument.alias_info and argument.alias_info.is_write]
    return [given[name] for name in written if isinstance(given.get(name), Node)]


def _schema(node: Node) -> Any:
    return node.target._schema if isinstance(node.target, torch._ops.OpOverload) else None


def _need_gradients(nodes: Sequence[Node], trained: set[Node]) -> set[Node]:
    needs = set(trained)
    for node in nodes:
        value = node.meta.get("val")
        whole = isinstance(value, torch.Tensor) and not (value.is_floating_point() or value.is_complex())
        if not whole and any(argument in needs for argument in node.all_input_nodes):
            needs.add(node)
    return needs


def _data(nodes: Sequence[Node], needs: set[Node]) -> set[Node]:
    """Values that can be computed before all blocks, and whose storage nothing else writes to."""
    made, written = set(nodes), set[int]()
    while True:
        data: set[Node] = set()
        for node in nodes:
            read = [*node.all_input_nodes, node]
            if (
                (_schema(node) is not None and not _is_random(node) and node not in needs)
                and all(is_tensor(value) and stored_in(value) not in written for value in read)
                and all(argument in data or argument not in made for argument in node.all_input_nodes)
                and all(argument in data for argument in written_by(node))
            ):
                data.add(node)
        others = [argument for node in nodes if node not in data for argument in written_by(node)]
        more = set(map(stored_in, filter(is_tensor, others)))
        if more <= written:
            return data
        written |= more


def _is_random(node: Node) -> bool:
    operator: Any = node.target
    return torch.Tag.nondeterministic_seeded in operator.tags
