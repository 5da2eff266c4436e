"""Analysis of memory tables: savings, residuals, what fills a peak, work. All rows must be of finished cells."""

import numpy as np
import pandas as pd

from harness.analysis.baseline import _beside_store_all
from harness.analysis.each_row import each_row
from networks.chain import Chain
from networks.layer_lists import parse_layers
from networks.planning.network_rows import fills_most
from networks.tracker import KINDS

RESIDUAL_BOUND_SHARE = 0.005
RESIDUAL_BOUND_BYTES = 32 * 2**10


def savings(memory: pd.DataFrame) -> pd.DataFrame:
    """Add how much each cell's measured peak saves against store-all's, and the most that any schedule can save.

    New columns: `store_all_peak_bytes`, `saved_bytes`, and as shares of store-all's peak `saved_share` and
    `savable_share`. The latter is the part above `floor_bytes`. The columns are missing if there is no store-all cell.
    """
    table = _beside_store_all(memory, store_all_peak_bytes="memray_peak_bytes")
    store_all = table["store_all_peak_bytes"].astype("Float64")
    saved = table["store_all_peak_bytes"] - table["memray_peak_bytes"]
    return table.assign(
        saved_bytes=saved, saved_share=saved / store_all, savable_share=1 - floor_bytes(table) / store_all
    )


def floor_bytes(memory: pd.DataFrame) -> pd.Series:
    """The smallest possible peak: the largest backward step, with only the outputs that it works on."""

    def floor(chain: Chain) -> int:
        return max(beside + below for beside, below in zip(chain.serve_bytes[1:], chain.after_bytes[:-1], strict=True))

    return pd.Series(map(floor, chains(memory)), index=memory.index)


def chains(table: pd.DataFrame) -> list[Chain]:
    """The chain of each row's network, for a step by `backward` in one part."""
    return [
        Chain(parse_layers(layers), int(batch), np.dtype(dtype).itemsize)
        for layers, batch, dtype in zip(table["layers"], table["batch"], table["dtype"], strict=True)
    ]


def dominant_kind(memory: pd.DataFrame) -> pd.DataFrame:
    """Add `dominant_kind`, which of a plan's `REMEDIES` fills most of the tracker's peak, and its `dominant_share`."""
    peaks = memory[[f"tracker_{kind}_bytes" for kind in KINDS]].set_axis(KINDS, axis=1)
    dominant = [fills_most(peak) for peak in each_row(peaks)]
    return memory.assign(dominant_kind=[kind for kind, _ in dominant], dominant_share=[share for _, share in dominant])


def residual_bound(predicted_bytes: np.ndarray) -> np.ndarray:
    """The allowed distance of memray's peak from a prediction, in bytes: 0.5 % of it, but no less than 32 KiB."""
    return np.maximum(RESIDUAL_BOUND_SHARE * predicted_bytes, RESIDUAL_BOUND_BYTES)


def residuals(memory: pd.DataFrame) -> pd.DataFrame:
    """Add `bound_bytes`, the `residual_bound`, and `within_bound`, whether `residual_bytes` is within it."""
    bound = residual_bound(memory["predicted_peak_bytes"].to_numpy(dtype="float64"))
    return memory.assign(bound_bytes=bound, within_bound=memory["residual_bytes"].abs() <= bound)


def work_ratios(memory: pd.DataFrame) -> pd.DataFrame:
    """Add each row's forward work, and its work in the whole step, over store-all's.

    New columns: `forward_work_ratio`, of `forward_flops`, and `work_ratio`, of the operations of all matrix products of
    the step. The backward pass has two products of each layer's size. One gives the weight gradient. The other gives
    the gradient at the layer below, which layer 1 does not need.
    """
    forward = np.array([sum(chain.forward_flops) for chain in chains(memory)])
    backward = 2 * forward - [chain.forward_flops[1] for chain in chains(memory)]
    flops = memory["forward_flops"].to_numpy(dtype="float64")
    return memory.assign(forward_work_ratio=flops / forward, work_ratio=(flops + backward) / (forward + backward))
