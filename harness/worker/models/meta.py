"""A profile on the meta device, whose tensors have shapes and no values: of models that this machine could not hold."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from harness.worker.models.meters import TensorMeter
from harness.worker.models.profile import CPU_ATTENTION, profile_model
from harness.worker.models.user_model import Model
from networks.schedules.foreign import told

NOTE = (
    "profiled on the meta device, where nothing is allocated: scratch of kernels is missing, so peaks may be higher; "
    "times are missing, so they are predicted from operations; values are missing, so it is not checked that the "
    "blocks give what the model gives"
)


def profile_on_meta(model: Model, place: str) -> dict[str, Any]:
    """The profile of a model that is on the meta device, made in the file `place`.

    Raises ValueError where the model reads values.
    """
    try:
        with _attention_in_one_kernel():
            row = profile_model(model.module, model.sample, model.loss, model.blocks, TensorMeter())
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"{told(error, place)}, on the meta device, whose tensors have no values: if the model needs them, profile "
            "it on another device"
        ) from None
    return {**row, "notes": [*row["notes"], NOTE]}


@contextmanager
def _attention_in_one_kernel() -> Iterator[None]:
    """Attention on the meta device by one kernel where the CPU has one. PyTorch makes matrices of all pairs there."""
    with torch.library._scoped_library("aten", "IMPL") as library:
        library.impl("scaled_dot_product_attention", _attended, "AutogradMeta")
        yield


def _attended(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    **options: Any,
) -> torch.Tensor:
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.where(mask, 0.0, query.new_full((), float("-inf")))
    constant_mask = mask is None or not mask.requires_grad
    grouped = options.get("enable_gqa", False)
    if torch.backends.cuda.flash_sdp_enabled() and constant_mask and not dropout and _fit(query, key, value, grouped):
        attended: torch.Tensor = CPU_ATTENTION(query, key, value, dropout, is_causal, attn_mask=mask)[0]
        return attended
    attended, _ = torch.ops.aten._scaled_dot_product_attention_math(
        query, key, value, mask, dropout, is_causal, **options
    )
    return attended


def _fit(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, grouped: bool) -> bool:
    """Whether the CPU's kernel takes these shapes. It broadcasts no batch, and no heads unless they are `grouped`."""
    if not query.dim() == key.dim() == value.dim() == 4:
        return False
    heads = {tensor.shape[1] for tensor in (query, key, value)[grouped:]}
    return query.shape[0] == key.shape[0] == value.shape[0] and len(heads) == 1 and query.shape[-1] == value.shape[-1]
