"""Networks that are given bad input, and that work afterwards as new ones do."""

from collections.abc import Callable

import pytest

from networks import Network, NetworkWithCheckpointing
from tests.support.strategies import random_data

LAYERS, BATCH = [4, 6, 6, 5, 3], 5
X, Y = random_data(LAYERS, BATCH)

AnyNetwork = Network | NetworkWithCheckpointing
Build = Callable[..., AnyNetwork]


def expect_error(
    message: str, function: Callable, *args: object, kind: type[Exception] = ValueError, **options
) -> None:
    with pytest.raises(kind) as caught:
        function(*args, **options)
    assert str(caught.value) == message


NO_FORWARD_PASS = "no forward pass to work on: call forward(x) first; one forward serves one backward"


def gradients(network: AnyNetwork) -> list[list]:
    network.forward(X)
    return [array.tolist() for pair in network.backward(Y) for array in pair]


def expect_to_work_as_new(network: AnyNetwork) -> None:
    assert gradients(network) == gradients(Network(LAYERS))
