"""Parameters come back from a file bit for bit; any other file is one clear line, and changes nothing."""

import io
import os
import random
import re
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from networks import Network, NetworkWithCheckpointing
from networks.optimizers import SGD
from tests.support.strategies import random_data

LAYERS = [4, 6, 6, 5, 3]
X, Y = random_data(LAYERS, 5)

AnyNetwork = Network | NetworkWithCheckpointing


def parameters(network: AnyNetwork) -> list[bytes]:
    return [array.tobytes() for pair in network.parameters for array in pair]


def trained(build: Callable[..., AnyNetwork] = Network, **options: object) -> AnyNetwork:
    network = build(LAYERS, **options)
    network.train_step(X, Y, SGD(0.5))
    return network


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    trained().save(tmp_path / "parameters.npz")
    return tmp_path / "parameters.npz"


def expect_refused(path: Path, message: str, network: AnyNetwork | None = None) -> None:
    network = network or Network(LAYERS, seed=1)
    before = parameters(network)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        network.load(path)
    assert str(caught.value) == f"{path}: {message}"
    assert parameters(network) == before


DAMAGED = "is no file that save wrote, or not all of it: "

# There and back


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_parameters_come_back_bit_for_bit(tmp_path: Path, dtype: str, activation: str):
    """Into either network, whatever its schedule, and into its own arrays."""
    network = trained(dtype=dtype, activation=activation)
    network.save(tmp_path / "a.npz")
    for build in (Network, partial(NetworkWithCheckpointing, checkpoint_frequency=2)):
        other = build(LAYERS, dtype=dtype, activation=activation, seed=5)
        arrays = [id(array) for pair in other.parameters for array in pair]
        other.load(str(tmp_path / "a.npz"))
        assert parameters(other) == parameters(network)
        assert [id(array) for pair in other.parameters for array in pair] == arrays
        assert other.predict(X).tolist() == network.predict(X).tolist()


def test_values_of_all_kinds_come_back_bit_for_bit(tmp_path: Path):
    network, bits = Network([2, 2]), np.array([0x7FC00001, 0xFF800000, 0x80000000, 1], dtype="uint32")
    network.parameters[0][0][:] = bits.view("float32").reshape(2, 2)  # a NaN with a payload, -inf, -0, a subnormal
    network.save(tmp_path / "a")
    other = Network([2, 2])
    other.load(tmp_path / "a")
    assert other.parameters[0][0].tobytes() == bits.tobytes()


def test_the_file_is_an_npz_that_numpy_reads_without_pickles(saved: Path):
    with np.load(saved, allow_pickle=False) as archive:
        named = {f"{part}_{number}" for number in range(1, 5) for part in ("weights", "biases")}
        assert set(archive.files) == {"network.txt", *named}
        assert archive["network.txt"] == (
            b"checkpointing-lab parameters 1: layers 4,6x2,5,3, activation relu, dtype float32"
        )
        network = trained()
        for number, (weights, biases) in enumerate(network.parameters, start=1):
            np.testing.assert_array_equal(archive[f"weights_{number}"], weights)
            np.testing.assert_array_equal(archive[f"biases_{number}"], biases)


def test_the_same_parameters_make_the_same_file(saved: Path, tmp_path: Path):
    trained().save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == saved.read_bytes()


def test_loading_ends_a_step_that_was_begun(saved: Path):
    """Because its afters are of other weights."""
    network = Network(LAYERS, seed=1)
    network.forward(X)
    network.save(saved.with_name("own.npz"))  # saving does not
    network.backward(Y)
    network.forward(X)
    network.load(saved)
    with pytest.raises(RuntimeError, match="no forward pass to work on"):
        network.backward(Y)


# Written whole or not at all


def test_an_old_file_stays_until_the_new_one_is_whole(saved: Path, monkeypatch: pytest.MonkeyPatch):
    before = saved.read_bytes()
    for failure in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda _, failure=failure: (_ for _ in ()).throw(failure))
            with pytest.raises(type(failure)) as caught:
                Network(LAYERS, seed=3).save(saved)
        assert saved.read_bytes() == before
        assert os.listdir(saved.parent) == [saved.name]
        if isinstance(failure, OSError):
            assert str(saved) in str(caught.value)


def test_a_link_stays_a_link(saved: Path):
    link = saved.with_name("latest.npz")
    link.symlink_to(saved)
    Network(LAYERS, seed=3).save(link)
    assert link.is_symlink()
    Network(LAYERS).load(saved)


def test_what_cannot_be_opened_is_named(tmp_path: Path):
    for path, act in ((tmp_path / "no" / "a.npz", Network(LAYERS).save), (tmp_path / "a.npz", Network(LAYERS).load)):
        with pytest.raises(FileNotFoundError, match=re.escape(str(path))):
            act(path)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        for act in (Network(LAYERS).save, Network(LAYERS).load):
            with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}: is no regular file$"):
                act(path)


# Other files


@pytest.mark.parametrize(
    ("network", "kind"),
    [
        (Network([4, 6, 6, 6, 3]), "layers 4,6x3,3, activation relu, dtype float32"),
        (Network([4, 6, 6, 5, 5, 3]), "layers 4,6x2,5x2,3, activation relu, dtype float32"),
        (Network([4, 3]), "layers 4,3, activation relu, dtype float32"),
        (Network(LAYERS, activation="tanh"), "layers 4,6x2,5,3, activation tanh, dtype float32"),
        (Network(LAYERS, dtype="float64"), "layers 4,6x2,5,3, activation relu, dtype float64"),
    ],
)
def test_another_networks_parameters_are_refused(saved: Path, network: Network, kind: str):
    message = f"holds layers 4,6x2,5,3, activation relu, dtype float32; this network has {kind}"
    expect_refused(saved, message, network)


def rewritten(saved: Path, changes: dict[str, bytes | None], **options: int) -> None:
    """The archive with other contents of some members; None leaves one out."""
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | changes
    with zipfile.ZipFile(saved, "w", **options) as archive:
        for name, content in members.items():
            if content is not None:
                archive.writestr(name, content)


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=True)
    return content.getvalue()


EXPECTED = "biases_1.npy must begin with {'descr': '<f4', 'fortran_order': False, 'shape': (6,), }, got "
HUGE = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(np.zeros(5, "f4")), EXPECTED + "{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }"),
        (npy(np.zeros(6)), EXPECTED + "{'descr': '<f8', 'fortran_order': False, 'shape': (6,), }"),
        (npy(np.array([{}] * 6)), EXPECTED + "{'descr': '|O', 'fortran_order': False, 'shape': (6,), }"),
        (b"\x93NUMPY\x01\x00" + (len(HUGE)).to_bytes(2, "little") + HUGE.encode(), EXPECTED + HUGE),
        (npy(np.zeros(6, "f4"))[:-1], "biases_1.npy must have 24 bytes of values, got fewer"),
        (npy(np.zeros(6, "f4")) + b"\0", "biases_1.npy must have 24 bytes of values, got more"),
        (b"", EXPECTED + "nothing"),
        (None, "biases_1.npy is missing"),
    ],
)
def test_an_array_that_is_not_the_expected_one_is_refused(saved: Path, content: bytes | None, message: str):
    rewritten(saved, {"biases_1.npy": content})
    expect_refused(saved, DAMAGED + message)


@pytest.mark.parametrize("text", [b"", b"layers 4", b"\xff\xfe", b"checkpointing-lab parameters 1: \x1b[2J"])
def test_a_file_that_does_not_say_what_it_is_of_is_refused(saved: Path, text: bytes):
    rewritten(saved, {"network.txt": text})
    with pytest.raises(ValueError, match=re.escape(f"{saved}: {DAMAGED}")) as caught:
        Network(LAYERS).load(saved)
    assert str(caught.value).isprintable()


def test_what_is_no_such_archive_is_refused(tmp_path: Path):
    path = tmp_path / "a.npz"
    np.savez(path, weights=np.zeros(3))
    expect_refused(path, DAMAGED + "network.txt is missing")
    for content in (b"", b"PK", b"text", npy(np.zeros(3))):
        path.write_bytes(content)
        expect_refused(path, DAMAGED + "File is not a zip file")


def test_a_compressed_member_is_refused_and_not_unpacked(saved: Path):
    """A few bytes may stand for many."""
    rewritten(saved, {"network.txt": b"a" * 10**6}, compression=zipfile.ZIP_DEFLATED)
    expect_refused(saved, DAMAGED + "network.txt is compressed")


def test_a_cut_or_damaged_file_is_refused_in_one_line_or_whole(saved: Path):
    """Cut at many lengths, and with one to three bytes changed: what is not refused is what was saved."""
    whole, generator = saved.read_bytes(), random.Random(0)
    network, expected = Network(LAYERS, seed=1), parameters(trained())
    before = parameters(network)
    damaged = [whole[:length] for length in range(0, len(whole), 7)]
    for _ in range(1000):
        content = bytearray(whole)
        for _ in range(generator.choice((1, 2, 3))):
            content[generator.randrange(len(content))] = generator.choice((0, 255, generator.randrange(256)))
        damaged.append(bytes(content))
    refused = 0
    for content in damaged:
        saved.write_bytes(content)
        try:
            network.load(saved)
        except ValueError as error:
            refused += 1
            message = str(error)
            assert message.startswith(f"{saved}: ")
            assert message.isprintable()
            assert parameters(network) == before
        else:
            assert parameters(network) == expected
            before = expected
    assert refused > 500
