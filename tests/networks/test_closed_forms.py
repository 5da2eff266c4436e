"""Forward steps, flops and peaks against closed forms, which follow from the rules of test_cache_accounting."""

import pytest

from networks import dry_run

FLOAT32 = 4


@pytest.mark.parametrize(
    ("depth", "frequency", "segment", "each"),
    [(3, 2, 4, 4), (9, 3, 14, 16), (25, 4, 43, 61), (25, 5, 44, 71), (64, 8, 119, 281)],
)
def test_forward_steps_are_those_of_theory(depth: int, frequency: int, segment: int, each: int):
    layers = [8] * (depth + 1)
    assert dry_run(layers, batch=4).forward_steps == depth
    assert dry_run(layers, batch=4, checkpoint_frequency=frequency).forward_steps == segment
    assert dry_run(layers, batch=4, checkpoint_frequency=frequency, recompute="each").forward_steps == each


def test_forward_flops_count_each_product_executed():
    store_all = 2 * 32 * (64 * 128 + 128 * 64 + 64 * 10)
    assert dry_run([64, 128, 64, 10], batch=32).forward_flops == store_all
    recomputed = 2 * 32 * 64 * 128  # layer 1, once more
    assert dry_run([64, 128, 64, 10], batch=32, checkpoint_frequency=2).forward_flops == store_all + recomputed


def test_a_frequency_of_one_stores_all():
    assert dry_run([6, 5, 5, 5, 3], batch=8, checkpoint_frequency=1) == dry_run([6, 5, 5, 5, 3], batch=8)


@pytest.mark.parametrize("frequency", [4, 5, 1000])
def test_a_frequency_of_the_depth_or_more_keeps_nothing_but_the_input(frequency: int):
    step = dry_run([6, 5, 5, 5, 3], batch=8, checkpoint_frequency=frequency, recompute="each")
    assert step.peak_cached_layers == 0
    assert step.misses == 2  # after[2] and after[1]; after[3] is left from the forward pass, and after[0] is the input
    assert step.forward_steps == 4 + 2 + 1


def held_with_segments(position: int, depth: int, frequency: int) -> int:
    """Afters resident once after[position] is: the checkpoints, and its segment up to it, recomputed together.

    Of the topmost segment the forward pass leaves after[depth - 1] alone.
    """
    checkpoints, recomputed = divmod(position, frequency)
    return checkpoints + (min(recomputed, 1) if position == depth - 1 else recomputed)


def held_with_nothing_saved_again(position: int, depth: int, frequency: int) -> int:
    """Afters resident once after[position] is: the checkpoints, and itself if it is none."""
    checkpoints, recomputed = divmod(position, frequency)
    return checkpoints + min(recomputed, 1)


CHAINS = [(depth, frequency) for depth in (1, 2, 3, 9, 25) for frequency in (1, 2, 3, 4, 8, 30)]
SIZES = [pytest.param(8, 64, id="afters-dominate"), pytest.param(64, 2, id="parameter-deltas-dominate")]


@pytest.mark.parametrize(("width", "batch"), SIZES)
@pytest.mark.parametrize("depth", [1, 2, 3, 9, 25])
def test_peak_of_store_all_is_the_closed_form(depth: int, width: int, batch: int):
    """Backward at layer l holds l-1 afters, a delta, the outputs, and depth-l+1 layers' parameter deltas.

    That is linear in l, so its maximum lies at an end. The forward pass ends below it: it has no parameter deltas.
    """
    after, parameters, workspace = sizes(depth, width, batch)
    at_the_last_layer = (depth + 1) * after + parameters
    at_the_first_layer = 2 * after + depth * parameters
    expected = workspace + max(at_the_last_layer, at_the_first_layer)
    assert dry_run([width] * (depth + 1), batch=batch).peak_bytes == expected


@pytest.mark.parametrize(("width", "batch"), SIZES)
@pytest.mark.parametrize(("depth", "frequency"), CHAINS)
@pytest.mark.parametrize(
    ("recompute", "held"), [("segment", held_with_segments), ("each", held_with_nothing_saved_again)]
)
def test_peak_of_periodic_is_the_closed_form(recompute, held, depth: int, frequency: int, width: int, batch: int):
    """Backward at layer l holds what is resident with after[l-1], a delta, the outputs and the parameter deltas."""
    after, parameters, workspace = sizes(depth, width, batch)
    expected = workspace + max(
        (held(layer - 1, depth, frequency) + 2) * after + (depth - layer + 1) * parameters
        for layer in range(1, depth + 1)
    )
    step = dry_run([width] * (depth + 1), batch=batch, checkpoint_frequency=frequency, recompute=recompute)
    assert step.peak_bytes == expected


def sizes(depth: int, width: int, batch: int) -> tuple[int, int, int]:
    """Bytes of an after, of a layer's parameter deltas and of the workspace; all rows fit one block.

    The block is that of a hidden layer; or of the outputs, turned if they are few, beside a column.
    """
    tile = width * min(batch, 1024 // width)
    outputs = batch * (1 + (width if width <= 32 else 0))
    block = max(outputs, width * width // 64, batch * width if depth > 1 else 0)
    return batch * width * FLOAT32, (width + 1) * width * FLOAT32, (2 * tile + batch + block) * FLOAT32
