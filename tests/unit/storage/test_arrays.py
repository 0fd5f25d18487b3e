"""Arrays streamed into a safetensors file: read back by name, and refused where the file is not whole."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from stablequant.errors import StableQuantError
from stablequant.storage.arrays import ArrayReader, writing_arrays


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with writing_arrays(path, arrays) as writer:
        for name, array in arrays.items():
            writer.write(name, array)


def test_streamed_arrays_are_a_safetensors_file(tmp_path):
    arrays = {f"tensor {i}": np.random.default_rng(i).random((i, 3), dtype=np.float32) for i in range(5)}
    arrays["half"] = np.ones((2, 2, 2), dtype=np.float16)
    arrays["nothing, to the end"] = np.empty((4, 0), dtype=np.float16)
    write(tmp_path / "a.safetensors", arrays)
    independent = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    reader = ArrayReader(tmp_path / "a.safetensors")
    for name, array in arrays.items():
        for found in (independent[name], reader[name]):
            assert np.array_equal(found, array)
            assert found.shape == array.shape
            assert found.dtype == array.dtype


def test_thousands_of_arrays_are_read_in_any_order(tmp_path):
    arrays = {f'parts/ä "{i}".wav': np.full((i % 4, 2), i, dtype=np.float32) for i in range(20_000)}
    write(tmp_path / "a.safetensors", arrays)
    reader = ArrayReader(tmp_path / "a.safetensors")
    for i in np.random.default_rng(0).permutation(20_000):
        found = reader[f'parts/ä "{i}".wav']
        assert found.shape == (i % 4, 2)
        assert (found == i).all()


def test_what_was_read_is_the_readers_own(tmp_path):
    """It stays what it was, and may be changed, whatever becomes of the file."""
    write(tmp_path / "a.safetensors", {"a": np.arange(4, dtype=np.float32), "b": np.ones(4, dtype=np.float32)})
    reader = ArrayReader(tmp_path / "a.safetensors")
    first = reader["a"]
    (tmp_path / "a.safetensors").write_bytes(bytes(9))
    assert first.tolist() == [0, 1, 2, 3]
    first += 1
    with pytest.raises(StableQuantError, match=r"a\.safetensors: damaged or incomplete .*; delete it, and run again"):
        reader["b"]


def test_only_what_is_asked_for_counts_as_memory(tmp_path):
    write(tmp_path / "a.safetensors", {str(i): np.ones(2_000_000, dtype=np.float32) for i in range(12)})
    reader = ArrayReader(tmp_path / "a.safetensors")
    before = resident_megabytes()
    for i in range(12):
        assert reader[str(i)][0] == 1
    assert resident_megabytes() - before < 40, "the whole file, 96 MB, counts as memory"


def resident_megabytes() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1000


@pytest.fixture
def file(tmp_path) -> Path:
    write(tmp_path / "a.safetensors", {"a": np.ones(4, dtype=np.float32)})
    return tmp_path / "a.safetensors"


def test_an_interrupted_write_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), writing_arrays(tmp_path / "a.safetensors", ["a", "b"]) as writer:
        writer.write("a", np.ones(4, dtype=np.float32))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def headerless(content: bytes) -> bytes:
    """As `writing_arrays` leaves it when it is killed: the space of the header is still empty."""
    start = 8 + int.from_bytes(content[:8], "little")
    return bytes(start) + content[start:]


DAMAGE = {
    "cut": lambda content: content[:-1],
    "longer": lambda content: content + b"\0",
    "header cut": lambda content: content[:20],
    "length cut": lambda content: content[:5],
    "empty": lambda _: b"",
    "no header": headerless,
    "no offsets": lambda content: content.replace(b"data_offsets", b"data_offset_"),
    "another shape": lambda content: content.replace(b"[4]", b"[5]"),
    "another type": lambda content: content.replace(b"F32", b"F31"),
    "length beyond the file": lambda content: b"\xff" * 8 + content[8:],
    "a list": lambda content: content.replace(b"{", b"[", 1),
    "a page": lambda _: b"<html>404 Not Found</html>",
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_is_not_whole_is_refused(file, damage):
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    with pytest.raises(
        StableQuantError, match=r"a\.safetensors: damaged or incomplete \(.+\); delete it, and run again"
    ):
        ArrayReader(file)
    with pytest.raises(StableQuantError, match=r"delete \S+index\.json, and run again"):
        ArrayReader(file, file.with_name("index.json"))


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(StableQuantError, match=rf"{path.name}: cannot be read \(.+\); delete it, and run again"):
            ArrayReader(path)


def test_an_array_of_another_name_is_refused(file):
    with pytest.raises(StableQuantError, match=r"a\.safetensors: .*no.* b.*; delete \S+index\.json, and run again"):
        ArrayReader(file, file.with_name("index.json"))["b"]


def test_more_arrays_than_the_format_can_list_are_refused_before_any_is_written(tmp_path):
    with (
        pytest.raises(StableQuantError, match=r"a\.safetensors: too many arrays .*; use fewer utterances"),
        writing_arrays(tmp_path / "a.safetensors", ("x" * 1_000_000 for _ in range(100))),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
