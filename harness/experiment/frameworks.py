"""The registry of frameworks: what each is called, what it is installed as, and how it can train.

A *peer* is another framework's way to train, written `framework.variant`, as in `torch.checkpoint`. The framework's
module in `harness/worker/steps/` builds its step from a cell. A worker alone loads that, once a cell asks for it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

OWN = "networks"
"""The framework of this project's own cells."""


@dataclass(frozen=True, kw_only=True)
class Framework:
    """Another framework, measured beside this project's networks by the same harness.

    Attributes:
        name: also that of its module in `harness/worker/steps/`.
        packages: what is installed for it; their versions are told with its results.
        variants: how it can train, and whether that takes a `checkpoint_frequency`: n, where every n-th after is kept.
    """

    name: str
    packages: tuple[str, ...]
    variants: Mapping[str, bool]


FRAMEWORKS: Mapping[str, Framework] = {
    framework.name: framework
    for framework in (
        Framework(
            name="torch",
            packages=("torch",),
            variants={
                "store-all": False,
                "checkpoint": True,
                "checkpoint_sequential": True,
                "compile": False,
                "compile_budget": False,
            },
        ),
        Framework(
            name="jax",
            packages=("jax", "jaxlib"),
            variants={"store-all": False, "checkpoint": True, "scan": False, "scan_checkpoint": True},
        ),
        Framework(name="sklearn", packages=("scikit-learn",), variants={"backprop": False}),
    )
}

PEERS: Mapping[str, bool] = {
    f"{framework.name}.{variant}": takes_frequency
    for framework in FRAMEWORKS.values()
    for variant, takes_frequency in framework.variants.items()
}
"""Every peer, and whether it takes a `checkpoint_frequency`."""


def packages_of(frameworks: Iterable[str]) -> tuple[str, ...]:
    """What is installed for these frameworks."""
    return tuple(package for framework in frameworks for package in FRAMEWORKS[framework].packages)
