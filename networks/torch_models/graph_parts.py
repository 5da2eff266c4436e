"""A traced graph in parts, each a graph of its own that fetches what it needs from the user's model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, repeat
from typing import Any

import torch
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from networks.torch_models.borders import Border, BoundPiece, Crossing, Place
from networks.torch_models.fingerprints import described_tensor
from networks.torch_models.live_values import LiveValues, is_tensor, stored_in, written_by


class NotSlicedError(ValueError):
    """A model in which no blocks can be found. The message is the reason, in one line."""


@dataclass(frozen=True)
class ModelCall:
    """What one call of the model gives to the parts of its graph."""

    inputs: Sequence[Any]
    data: dict[str, torch.Tensor]
    """Values that were computed before the first block."""


Fetch = Callable[[ModelCall], Any]


@dataclass(frozen=True)
class Part:
    """A part of the graph. It takes the border before it and what it fetches."""

    name: str
    description: str
    trains: bool
    forward: Callable[..., Border]
    fetches: tuple[Fetch, ...]
    given: tuple[Fetch, ...]
    """Those of the fetches that read what a call of the model gives."""
    reads: tuple[Place, ...]

    def run(self, call: ModelCall, border: Border) -> Border:
        """Run the part on a border, with what else it reads of this call."""
        return self.forward(*border, *[fetch(call) for fetch in self.fetches])

    def bound(self, call: ModelCall) -> BoundPiece:
        """Make it a piece for a call."""
        given = tuple(value for fetch in self.given if isinstance(value := fetch(call), torch.Tensor))
        return BoundPiece(partial(self.run, call), given)


class GraphParts:
    """The parts of an exported model: `ahead`, which computes what several blocks read, and one for each block."""

    def __init__(self, model: torch.nn.Module, inputs: Sequence[Any], exported: Any):
        """`inputs` are the leaves of the sample."""
        _check_kinds(exported.graph_signature)
        self._root = exported.graph_module
        placeholders = [node for node in exported.graph.nodes if node.op == "placeholder"]
        specs = {spec.arg.name: spec for spec in exported.graph_signature.input_specs}
        own_inputs = [node for node in placeholders if specs[node.name].kind is InputKind.USER_INPUT]
        self._tensor_inputs = tuple(filter(is_tensor, own_inputs))
        self._fetches: dict[Node, Fetch] = {node: _input(number) for number, node in enumerate(own_inputs)}
        self._places: dict[Node, Place | None] = {}
        for node in placeholders:
            if node not in self._fetches:
                self._fetches[node], self._places[node] = _own(model, specs[node.name].target, exported.constants)
        sample = ModelCall(inputs, {})
        held = {node: fetch(sample) for node, fetch in self._fetches.items()}
        self._trained = {
            node for node, value in held.items() if isinstance(value, torch.Tensor) and value.requires_grad
        }
        values = LiveValues(exported.graph, self._trained)
        self._views = {node for node in values.data if any(map(_shares_storage, repeat(node), node.all_input_nodes))}
        self._check_inputs_are_not_written(values.nodes)
        returned: Any = values.output.args[0]
        last = tuple(dict.fromkeys(leaf for leaf in returned if isinstance(leaf, Node)))
        self.outputs = tuple(Crossing(last.index(leaf)) if isinstance(leaf, Node) else leaf for leaf in returned)
        """What the model returns: tensors of the last border, and values that are no tensors."""
        self._cut(values, last)

    def _check_inputs_are_not_written(self, nodes: Sequence[Node]) -> None:
        storages = set(map(stored_in, self._tensor_inputs))
        if any(
            stored_in(argument) in storages for node in nodes for argument in written_by(node) if is_tensor(argument)
        ):
            raise NotSlicedError("the model writes over its input")

    def _cut(self, values: LiveValues, last: tuple[Node, ...]) -> None:
        cuts = values.cuts()
        ends = [0, *(cut.after for cut in cuts), len(values.nodes)]
        stretches = [values.nodes[start:stop] for start, stop in pairwise(ends)]
        borders = [self._tensor_inputs, *(cut.live for cut in cuts), last]
        ahead = _read_by_several(stretches, values.data)
        left = [[node for node in stretch if node not in ahead] for stretch in stretches]
        readers = {values.output, *(node for stretch in left for node in stretch)}
        data = [node for node in ahead if readers & node.users.keys()]
        self.ahead = self._part(ahead, (), data)
        self.data = tuple(node.name for node in data)
        self._fetches |= {node: _data(node.name) for node in data}
        self.blocks = [self._part(*of_block) for of_block in zip(left, borders, borders[1:], strict=False)]

    def _part(self, nodes: Sequence[Node], before: Sequence[Node], after: Sequence[Node]) -> Part:
        """The `nodes` as a graph of their own, from the values of one border to those of the next."""
        computed = {*before, *nodes}
        read = dict.fromkeys([*(argument for node in nodes for argument in node.all_input_nodes), *after])
        fetched = [node for node in read if node not in computed and node.op != "get_attr"]
        graph = Graph()
        inside = {node: graph.placeholder(node.name) for node in (*before, *fetched)}
        inside |= {node: graph.node_copy(node) for node in read if node.op == "get_attr"}
        for node in nodes:
            inside[node] = graph.node_copy(node, inside.__getitem__)
        graph.output(tuple(inside[node] for node in after))
        return Part(
            name=_name(nodes),
            description=self._described(nodes, [*before, *fetched]),
            trains=any(node in self._trained for node in fetched),
            forward=_without_traces(GraphModule(self._root, graph)).forward,
            fetches=tuple(self._fetches[node] for node in fetched),
            given=tuple(self._fetches[node] for node in fetched if node not in self._places),
            reads=tuple(place for node in fetched if (place := self._places.get(node))),
        )

    def _described(self, nodes: Sequence[Node], given: Sequence[Node]) -> str:
        """The operations and the shapes they start from, without the names of modules and values.

        Of a view of the caller's data the shape is enough: steps of a loop over time each have their own index.
        """
        words: dict[Node, str] = {}
        lines = []
        for node in given:
            words[node] = f"%{len(words)}"
            value = described_tensor(node.meta["val"]) if is_tensor(node) else ""
            lines.append(f"{value} {node.op == 'placeholder'} {node in self._trained}")
        for node in nodes:
            for argument in node.all_input_nodes:
                if argument.op == "get_attr":
                    words[argument] = self._root.get_submodule(argument.target).code
            words[node] = f"%{len(words)}"
            if node in self._views:
                lines.append(described_tensor(node.meta["val"]))
            else:
                lines.append(f"{node.target} {map_arg((node.args, node.kwargs), words.__getitem__)}")
        return "\n".join(lines)


def _shares_storage(node: Node, other: Node) -> bool:
    return is_tensor(other) and stored_in(node) == stored_in(other)


def _check_kinds(signature: Any) -> None:
    known = {InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR, InputKind.USER_INPUT}
    others = {spec.kind for spec in signature.input_specs} - known
    others |= {spec.kind for spec in signature.output_specs} - {OutputKind.USER_OUTPUT}
    if others:
        raise NotSlicedError(f"its graph has a {min(kind.name for kind in others)}")


def _input(number: int) -> Fetch:
    return lambda call: call.inputs[number]


def _data(name: str) -> Fetch:
    return lambda call: call.data[name]


def _own(model: torch.nn.Module, path: str, constants: dict[str, Any]) -> tuple[Fetch, Place | None]:
    """Reads what the model has at `path` at the time of the call, or the constant of that name, which has no place."""
    owner_path, _, attribute = path.rpartition(".")
    try:
        owner = model.get_submodule(owner_path)
        getattr(owner, attribute)
    except AttributeError:
        constant = constants[path]
        return lambda call: constant, None
    places = (Place(path, held, attribute) for held in (owner._parameters, owner._buffers, vars(owner)))
    return lambda call: getattr(owner, attribute), next((place for place in places if attribute in place.held), None)


def _read_by_several(stretches: Sequence[Sequence[Node]], data: set[Node]) -> list[Node]:
    """The data that more than one stretch reads, with what they are computed from and what writes to them."""
    home = {node: number for number, stretch in enumerate(stretches) for node in stretch}
    waiting = [node for node in data if any(home.get(user) != home[node] for user in node.users)]
    writers: dict[int, list[Node]] = {}
    for node in data:
        for argument in written_by(node):
            writers.setdefault(stored_in(argument), []).append(node)
    ahead: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node not in ahead:
            ahead.add(node)
            waiting += [argument for argument in node.all_input_nodes if argument in home]
            waiting += writers.get(stored_in(node), [])
    return [node for node in home if node in ahead]


def _without_traces(module: GraphModule) -> GraphModule:
    """Drop what the trace noted at each node, which holds all its shapes and stacks."""
    for part in module.modules():
        if isinstance(part, GraphModule):
            for node in part.graph.nodes:
                node.meta = {}
    return module


def _name(nodes: Sequence[Node]) -> str:
    """The modules whose code the first and the last of the nodes are."""
    names = list(dict.fromkeys(map(_module_of, nodes)))
    return " to ".join(dict.fromkeys([*names[:1], *names[-1:]]))


def _module_of(node: Node) -> str:
    paths = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
    return str(paths[-1]) if paths and paths[-1] else node.name
