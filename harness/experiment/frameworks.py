"""The registry of frameworks: their names, their packages, and their ways to train.

A *peer* is another framework's way to train, written `framework.variant`, as in `torch.checkpoint`. The framework's
module in `harness/worker/steps/` builds its step from a cell. Only a worker imports that module, and only for such a
cell.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

OWN = "networks"
"""The framework of this project's own cells."""

STORE_ALL = "store-all"
"""A step that keeps all activations, in every framework."""


@dataclass(frozen=True, kw_only=True)
class Framework:
    """Another framework, measured beside this project's networks by the same harness.

    Attributes:
        name: its name, and the name of its module in `harness/worker/steps/`.
        packages: the packages that it needs. Results tell their versions.
        variants: its ways to train, the plain one first, and whether each takes a `checkpoint_frequency`, that is keeps
            every n-th output.
    """

    name: str
    packages: tuple[str, ...]
    variants: Mapping[str, bool]

    @property
    def plain(self) -> str:
        """The variant with which the others are compared."""
        return next(iter(self.variants))


FRAMEWORKS: Mapping[str, Framework] = {
    framework.name: framework
    for framework in (
        Framework(
            name="torch",
            packages=("torch",),
            variants={
                STORE_ALL: False,
                "checkpoint": True,
                "checkpoint_sequential": True,
                "compile": False,
                "compile_budget": False,
            },
        ),
        Framework(
            name="jax",
            packages=("jax", "jaxlib"),
            variants={STORE_ALL: False, "checkpoint": True, "scan": False, "scan_checkpoint": True},
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
    """The packages of these frameworks."""
    return tuple(package for framework in frameworks for package in FRAMEWORKS[framework].packages)
