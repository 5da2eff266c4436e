"""The profile of a user's PyTorch model: the memory and time of each block. Each is measured alone, by the executor.

Equal blocks are measured once. The code before and after the blocks is measured around a chain that does nothing.
"""

import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.worker import probes
from harness.worker.models.effects import Effects, operations_of
from harness.worker.models.meters import Mark, Meter
from harness.worker.models.own_step import (
    DeltaSource,
    OwnStep,
    deltas_of,
    described,
    freeing,
    fresh,
    measure_own_step,
    tape_of,
    top_of,
    untaped_peak,
)
from harness.worker.models.sharing import SharedParameters, Sharing, gradients_bytes, parts_of
from networks.rounding import ceil_div
from networks.torch_models.blocks import Blocks, blocks_of
from networks.torch_models.borders import Border, BoundBlock, RunBlock
from networks.torch_models.conditions import Autocast
from networks.torch_models.executor import Facts
from networks.torch_models.planned_model import facts_of, fingerprint_of
from networks.torch_models.state import same_bits, tensors_of
from networks.torch_models.storages import storage_bytes, storage_of, storages_of

TIMED_RUNS = 5
ENGINE_NODE_BYTES = 75
"""Bytes of autograd's engine for each node of the graph while it runs, at most: its maps have just doubled. Measured on
graphs of 6 to 8,000 nodes, where a node takes 33 to 73."""

OVERHEAD_BLOCKS = 22
"""Blocks of the step that tells what each block adds. A dictionary has just grown at so many, so it takes the most for
each of them."""

CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
"""The kernel of attention on the CPU. PyTorch has no formula for its operations."""

Loss = Callable[[Any], torch.Tensor]


def profile_model(
    model: torch.nn.Module,
    inputs: tuple[Any, ...],
    loss: Loss,
    cut: str | Sequence[Callable[..., Any]] | None,
    meter: Meter,
) -> dict[str, Any]:
    """Profile a model, as plain data for `networks.planning.own_models.BlockProfile`."""
    found = blocks_of(model, inputs, cut)
    autocast = Autocast(tuple(tensors_of(inputs)))
    with autocast.as_in_reruns():
        overhead = _overhead(model, meter)
        sharing = Sharing(model, parts_of(found, inputs, loss))
    rows: list[dict[str, Any]] = []
    ends: list[Border] = []

    def walk(blocks: Sequence[BoundBlock], x: Border) -> Border:
        measured: dict[Any, dict[str, Any]] = {}
        x, below = fresh(x), list(storages_of(x))
        for number, (block, reads) in enumerate(zip(blocks, found.reads, strict=True), 1):
            y, random, buffers = _tried(block, x, model)
            order = tuple(below.index(storage_of(tensor)) for tensor in x)
            shared = sharing.of(number)
            key = block.fingerprint, tuple(map(str, described(x))), order, random, shared.key, operations_of(block, x)
            if key not in measured:
                facts = facts_of(model, block.name, 1, random=random, buffers=buffers, reads=reads)
                facts = replace(facts, given=block.given)
                measured[key] = _block_row(block, facts, x, below, y, model, meter, overhead, shared)
            waiting = {"waiting_gradient_bytes": sharing.waiting_bytes(number)}
            rows.append({"name": block.name, **measured[key], **waiting, "random": random, "buffers": buffers})
            after = storages_of(y)
            below = [place for place in after if place not in below] + [place for place in below if place in after]
            x = fresh(y)
        ends.append(x)
        return x

    def uncached(blocks: Sequence[BoundBlock], x: Border) -> Border:
        with autocast.as_in_reruns():  # as the executor runs blocks
            return walk(blocks, x)

    found(uncached, *inputs)
    _charge_deltas(rows)
    return {
        "blocks": rows,
        **_outside(model, found, inputs, loss, ends[-1], meter, sharing),
        "engine_bytes": overhead.once_bytes,
        "fingerprint": fingerprint_of(found),
        "cut": cut if cut is None or isinstance(cut, str) else "callables",
        "inputs": found.inputs,
        "autocast": autocast.described,
        "parameters_bytes": storage_bytes(model.parameters()),
        "trained_bytes": storage_bytes(parameter for parameter in model.parameters() if parameter.requires_grad),
        "data_bytes": storage_bytes(tensors_of(inputs)),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "notes": list(found.notes),
    }


def _tried(run: RunBlock, x: Border, model: torch.nn.Module) -> tuple[Border, bool, list[str]]:
    """The outputs of a run, whether it draws random numbers, and the names of the buffers that it writes."""
    if x[0].is_meta:
        with Effects() as effects:
            y = fresh(run(x))
        return y, effects.random, [name for name, buffer in model.named_buffers() if effects.wrote(buffer)]
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    before = _generators(x)
    y = fresh(run(x))  # its graph would hold the accumulators of gradients, which are to be measured
    random = any(not torch.equal(one, other) for one, other in zip(before, _generators(x), strict=True))
    return y, random, [name for name, buffer in model.named_buffers() if not same_bits(buffer, buffers[name])]


def _generators(x: Border) -> list[torch.Tensor]:
    devices = {tensor.device for tensor in x if tensor.device.type == "cuda"}
    return [torch.get_rng_state(), *map(torch.cuda.get_rng_state, devices)]


class _Overhead(NamedTuple):
    """Bytes of a step beside its blocks: while its graph lives, until the step ends, and of the engine."""

    graph_bytes: int
    husk_bytes: int
    engine_bytes: int

    @property
    def once_bytes(self) -> int:
        """The bytes that the step of a whole model has once."""
        return max(0, max(self.graph_bytes, self.husk_bytes) + self.engine_bytes)


def _overhead(model: torch.nn.Module, meter: Meter) -> _Overhead:
    """Measure it: the bytes of a step of one block, minus the bytes that each further such block adds.

    Their outputs and tapes are held, so that what the executor notes of these counts for each block.
    """

    def step_of(blocks: int) -> OwnStep:
        x: Border = (torch.ones(1, requires_grad=True),)
        facts = [Facts("scaled")] * blocks
        return measure_own_step([_scaled] * blocks, facts, x, model, meter, kept=range(2 * blocks + 1))

    one, many = step_of(1), step_of(OVERHEAD_BLOCKS)

    def once(of_one: int, of_many: int) -> int:
        return of_one - ceil_div(of_many - of_one, OVERHEAD_BLOCKS - 1)

    return _Overhead(
        graph_bytes=once(one.forward_bytes, many.forward_bytes),
        husk_bytes=once(one.end_bytes, many.end_bytes),
        engine_bytes=one.engine_bytes,
    )


def _scaled(x: Border) -> Border:
    return tuple(tensor * 1.0 for tensor in x)


def _block_row(
    run: RunBlock,
    facts: Facts,
    x: Border,
    below: Sequence[int],
    y: Border,
    model: torch.nn.Module,
    meter: Meter,
    overhead: _Overhead,
    shared: SharedParameters,
) -> dict[str, Any]:
    """The memory and time of one block, by the names of `networks.planning.own_models.ProfiledBlock`.

    `below` are the storages of `x`, in order.
    """
    tape = tape_of(run, x, below, model)
    after = storages_of(y)
    made_bytes = [after[place] for place in after if place not in below]
    delta_bytes = sum(tensor.nbytes for tensor in y if tensor.requires_grad)
    above_bytes = gradients_bytes(shared.above)
    step = partial(measure_own_step, [run], [facts], x, model, meter, **shared._asdict())
    taped = step(kept=(0, 1))
    gradient_bytes = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    freed = step(kept=(0, 1), freed=True)
    untaped = step()
    taped_graph = taped.forward_bytes - tape.nbytes - sum(made_bytes[place] for place in tape.outputs)
    graph = untaped.forward_bytes
    row = {
        "made_bytes": made_bytes,
        "passed_on": [number for number, place in enumerate(below) if place in after],
        "tape_bytes": tape.nbytes,
        "tape_inputs": tape.inputs,
        "tape_outputs": tape.outputs,
        "run_bytes": max(untaped_peak(run, x, meter), untaped.runs[0] - graph),
        "taped_run_bytes": max(taped.runs[0] - taped_graph, untaped.runs[-1] - graph - delta_bytes - above_bytes),
        "backward_bytes": max(taped.backward_bytes - taped_graph, untaped.backward_bytes - graph) - above_bytes,
        "freed_backward_bytes": freed.backward_bytes - taped_graph - above_bytes,
        "gradient_bytes": gradient_bytes,
        "added_gradient_bytes": above_bytes,
        "delta_bytes": delta_bytes,
        "graph_bytes": max(graph, taped_graph) - overhead.graph_bytes,
        "husk_bytes": max(untaped.end_bytes, taped.end_bytes) - gradient_bytes - overhead.husk_bytes,
        "forward_flops": _flops(run, x),
        "seconds": _seconds(run, x),
        "engine_bytes": ENGINE_NODE_BYTES * tape.nodes,
    }
    return {**_without_noise(row), "deltas": deltas_of(run, x)}


def _without_noise(row: dict[str, Any]) -> dict[str, Any]:
    """The row, with 0 for each number below it: a difference of two measured sizes may be some bytes below."""
    return {name: max(0, value) if type(value) is int else value for name, value in row.items()}


def _charge_deltas(rows: list[dict[str, Any]]) -> None:
    """Charge each block with the gradients at its outputs, as the blocks above leave them.

    The gradient of a concatenated tensor, say, is a view of a larger gradient. A tensor that no block uses has no
    gradient.
    """
    above: list[tuple[Any, int] | None] = []
    for number, row in reversed(list(enumerate(rows, 1))):
        deltas = row.pop("deltas")
        if number < len(rows):  # the gradient of the loss is measured
            delta_bytes = sum(dict(filter(None, above)).values())
            more = max(0, delta_bytes - row["delta_bytes"])
            row["backward_bytes"] += more
            row["freed_backward_bytes"] += more
            row["delta_bytes"] = delta_bytes
        known = dict(zip(deltas.above, above, strict=False))
        above = [each and (known.get(each[0]) or ((number, each[0]), each[1])) for each in deltas.below]


def _flops(run: RunBlock, x: Border) -> int:
    with FlopCounterMode(display=False, custom_mapping={CPU_ATTENTION: _attention_flops}) as counter:
        y = run(x)
    # A block without products is not free: it has at least one operation for each item.
    return max(1, counter.get_total_flops(), sum(tensor.numel() for tensor in y))


def _attention_flops(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    """The operations of two products, of queries with keys and of weights with values, from shapes."""
    return 2 * query[:-1].numel() * key[-2] * (query[-1] + value[-1])


def _seconds(run: RunBlock, x: Border) -> float | None:
    if x[0].is_meta:
        return None
    lap = probes.stopwatch()
    laps = []
    with torch.no_grad():
        for _ in range(TIMED_RUNS):
            run(x)
            if x[0].is_cuda:
                torch.cuda.synchronize()
            laps.append(lap())
    return median(laps)


def _outside(
    model: torch.nn.Module,
    found: Blocks,
    inputs: tuple[Any, ...],
    loss: Loss,
    last: Border,
    meter: Meter,
    sharing: Sharing,
) -> dict[str, Any]:
    """The memory of the code before and after the blocks, including the loss. `last` is the last block's output.

    A step holds the model's output to its end, as a variable of a training loop does.
    """
    leaf = torch.zeros((), requires_grad=True, device=last[0].device)
    above = sharing.of(0).above

    def step(mark: Mark) -> None:
        def run_blocks(blocks: Sequence[BoundBlock], x: Border) -> Border:
            held.append(tuple(tensor.detach() for tensor in x))  # like the executor
            mark("before")
            made: Border = DeltaSource.apply(mark, last, *x, leaf, *above)
            mark("last")
            return made

        held: list[Border] = []
        model.zero_grad(set_to_none=True)
        torch.clear_autocast_cache()  # each step fills it anew
        mark("start")
        output = found(run_blocks, *inputs)
        value = loss(output)
        mark("forward")
        value.backward()
        mark("end")

    kept = {phase.name: phase for phase in meter.phases(step)}
    with freeing(model):
        freed = {phase.name: phase for phase in meter.phases(step)}
    start, last_bytes = kept["start"].live_bytes, storage_bytes(last)
    holds_output, delta_bytes = top_of(
        last, lambda border: (output := found(lambda blocks, x: border, *inputs), loss(output))
    )
    left, freed_left = (max(0, each["source"].live_bytes - start - delta_bytes) for each in (kept, freed))
    row = {
        "before_bytes": kept["before"].live_bytes - start,
        "before_run_bytes": kept["before"].peak_bytes - start,
        "before_backward_bytes": kept["end"].peak_bytes - start - left - gradients_bytes(above),
        "loss_forward_bytes": kept["forward"].peak_bytes - start - last_bytes,
        "loss_backward_bytes": kept["source"].peak_bytes - start - (last_bytes if holds_output else 0),
        "loss_holds_output": holds_output,
        "loss_bytes": left,
        "freed_loss_bytes": freed_left,
        "waiting_gradient_bytes": sharing.waiting_bytes(0),
    }
    return _without_noise(row)
