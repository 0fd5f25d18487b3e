"""Which hidden values are cached, and what the cache gives back."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_recogniser import KEY, LAYERS, FakeRecogniser, calibrate_fake, songs, split_of
from safetensors.numpy import load_file

from stablequant.errors import StableQuantError
from stablequant.search import hidden_values
from stablequant.search.costs import Cost, recomputed
from stablequant.search.hidden_values import HiddenValues, cache_key, choose_layers, drop_layer, writing_cache
from stablequant.search.hidden_values_folder import file_of, folder_of, remove_cache
from stablequant.storage.files import read_json

FLOAT32, FLOAT16 = np.dtype(np.float32), np.dtype(np.float16)


def brute_force(costs: list[Cost], budget: float) -> float:
    """Least computation of any choice of layers within ``budget``."""
    best = recomputed(costs, [])
    for choice in range(2 ** (len(costs) - 1)):
        kept = [i + 1 for i in range(len(costs) - 1) if choice >> i & 1]
        if sum(costs[i].bytes for i in kept) <= budget:
            best = min(best, recomputed(costs, kept))
    return best


def test_the_layers_to_keep_are_nearly_the_best_within_the_budget():
    draw = np.random.default_rng(0)
    for _ in range(20):
        costs = [Cost(*pair) for pair in zip(draw.uniform(500, 2000, 9), draw.uniform(1, 8, 9), strict=True)]
        for budget in (0.5, 4, 12, 100):
            kept = choose_layers(costs, budget, FLOAT32)
            assert sum(costs[k].bytes for k in kept) <= budget
            nothing, best = recomputed(costs, []), brute_force(costs, budget)
            assert nothing - recomputed(costs, kept) >= 0.7 * (nothing - best)
    assert choose_layers(costs, 100, FLOAT32) == list(range(1, 9))
    assert choose_layers(costs, 0, FLOAT32) == []


def test_half_precision_keeps_more_and_what_is_cheap_to_compute_is_not_read():
    costs = [Cost(1000, 1)] * 9
    assert len(choose_layers(costs, 4, FLOAT16)) == 2 * len(choose_layers(costs, 4, FLOAT32))
    assert choose_layers([Cost(8, 1)] * 2, 100, FLOAT32) == []


def test_what_saves_most_for_its_size_comes_first():
    """By hand: without a cache the layers cost 0, 1000 and 2500. Keeping what enters layer 1 saves 2000, layer 2 2500.

    Layer 2 is twice as large, and there is room for one of them.
    """
    costs = [Cost(1000, 1), Cost(1500, 5), Cost(1000, 10)]
    assert choose_layers(costs, 10, FLOAT32) == [1]
    assert choose_layers(costs, 14.9, FLOAT32) == [1]
    assert choose_layers(costs, 15, FLOAT32) == [1, 2]
    assert choose_layers([Cost(1000, 1), Cost(1500, 9), Cost(1000, 10)], 10, FLOAT32) == [2], "2000 / 9 < 2500 / 10"


def test_what_is_computed_about_as_fast_as_it_is_read_is_not_stored():
    """16 products for a byte; of a layer behind one that is stored only what lies between counts."""
    assert choose_layers([Cost(16 * 4, 1), Cost(1, 4)], 100, FLOAT32) == [1]
    assert choose_layers([Cost(16 * 4 - 1, 1), Cost(1, 4)], 100, FLOAT32) == []
    assert choose_layers([Cost(16 * 4 - 1, 1), Cost(1, 4)], 100, FLOAT16) == [1]
    assert choose_layers([Cost(1000, 1), Cost(63, 4), Cost(1, 4)], 100, FLOAT32) == [1]
    assert choose_layers([Cost(1000, 1), Cost(500, 4), Cost(64, 4), Cost(1, 4)], 100, FLOAT32) == [1, 2, 3]
    assert choose_layers([Cost(1000, 1), Cost(500, 4), Cost(63, 4), Cost(1, 4)], 100, FLOAT32) == [1, 2]


@pytest.fixture
def index(tmp_path) -> Path:
    """Two layers and two batches, of one and of two tensors."""
    index = tmp_path / "hidden_values.json"
    with writing_cache(index, KEY, LAYERS, [1, 3], 2, FLOAT32) as writer:
        for batch in range(2):
            writer.keep(1, batch, {"hidden": torch.full((2, 3), 10.0 + batch)})
            writer.keep(3, batch, {"hidden": torch.full((1, 2), 30.0 + batch), "memory": torch.arange(3.0) + batch})
    return index


def test_what_was_kept_comes_back_by_name(index):
    found = HiddenValues(index, KEY, LAYERS)
    assert sorted(found.layers) == [1, 3]
    first = found.load(1, 1)
    assert list(first) == ["hidden"]
    assert first["hidden"].tolist() == [[11.0] * 3] * 2
    second = found.load(3, 0)
    assert {name: values.tolist() for name, values in second.items()} == {"hidden": [[30, 30]], "memory": [0, 1, 2]}
    assert all(values.dtype == np.float32 for values in second.values())
    assert [found.nearest(layer) for layer in range(5)] == [0, 1, 1, 3, 3]
    assert read_json(index) == {"layers": ["mix", "deep"], "precision": "float32", **KEY}
    assert {file.name for file in folder_of(index).iterdir()} == {"mix.safetensors", "deep.safetensors"}


def test_batches_are_told_apart_by_their_whole_number(tmp_path):
    """Batch 1 is not batch 10, 11, 12."""
    index = tmp_path / "hidden_values.json"
    with writing_cache(index, KEY, LAYERS, [1], 13, FLOAT32) as writer:
        for batch in range(13):
            writer.keep(1, batch, {"hidden": torch.tensor([float(batch)])})
    found = HiddenValues(index, KEY, LAYERS)
    assert [found.load(1, batch)["hidden"].tolist() for batch in range(13)] == [[float(batch)] for batch in range(13)]


def test_half_precision_takes_half_the_room_and_comes_back_in_float32(tmp_path):
    index = tmp_path / "hidden_values.json"
    values = torch.tensor([1 / 3, -2.0, 65504.0])
    with writing_cache(index, KEY, LAYERS, [2], 1, FLOAT16) as writer:
        writer.keep(2, 0, {"hidden": values})
    assert {array.dtype for array in load_file(file_of(index, "near")).values()} == {FLOAT16}
    found = HiddenValues(index, KEY, LAYERS).load(2, 0)["hidden"]
    assert found.dtype == np.float32
    assert found.tolist() == values.numpy().astype(np.float16).astype(np.float32).tolist()
    assert read_json(index)["precision"] == "float16"


def test_reduced_values_are_kept_as_float32(tmp_path):
    index = tmp_path / "hidden_values.json"
    with writing_cache(index, KEY, LAYERS, [2], 1, FLOAT32) as writer:
        writer.keep(2, 0, {"hidden": torch.tensor([0.5], dtype=torch.bfloat16)})
    assert {array.dtype for array in load_file(file_of(index, "near")).values()} == {FLOAT32}


def test_room_is_left_for_states_of_four_tensors_with_long_names(tmp_path):
    index = tmp_path / "hidden_values.json"
    state = {f"tensor_{number}".ljust(32, "y"): torch.zeros(10, 10, 10, 10) for number in range(4)}
    with writing_cache(index, KEY, LAYERS, [1], 3, FLOAT32) as writer:
        for batch in range(3):
            writer.keep(1, batch, state)
    assert HiddenValues(index, KEY, LAYERS).load(1, 2).keys() == state.keys()


def test_a_layer_is_forgotten_alone(index):
    drop_layer(index, "mix")
    assert HiddenValues(index, KEY, LAYERS).layers == [3]
    assert [file.name for file in folder_of(index).iterdir()] == ["deep.safetensors"]


def test_hidden_values_of_something_else_are_refused(index):
    with pytest.raises(StableQuantError) as error:
        HiddenValues(index, {"checkpoint": "another"}, LAYERS)
    assert str(error.value) == f"{index}: the cached values were made with another checkpoint; delete it, and run again"
    with pytest.raises(StableQuantError, match="made with another version of StableQuant"):
        HiddenValues(index, KEY | {"code": "new"}, LAYERS)


def test_incomplete_hidden_values_are_refused_and_released_ones_are_computed_again(index, caplog):
    file = file_of(index, "deep")
    content = file.read_bytes()
    file.write_bytes(content[:-9])
    remedy = r"delete \S+hidden_values\.json, and run again"  # the layer's file alone would not be made again
    with pytest.raises(StableQuantError, match=rf"{file.name}: damaged or incomplete .*; {remedy}"):
        HiddenValues(index, KEY, LAYERS)
    file.unlink()
    with pytest.raises(StableQuantError, match=f"{file.name}.*{remedy}"):
        HiddenValues(index, KEY, LAYERS)
    remove_cache(index)
    with caplog.at_level("INFO"):
        found = HiddenValues(index, KEY, LAYERS)
    assert (found.layers, found.nearest(4)) == ([], 0)
    assert caplog.messages == [f"{folder_of(index)}: no hidden values are cached, starting from the audio"]


def test_an_index_appears_only_when_all_is_written(tmp_path):
    index = tmp_path / "hidden_values.json"
    with pytest.raises(KeyboardInterrupt), writing_cache(index, KEY, LAYERS, [1], 1, FLOAT32):
        raise KeyboardInterrupt
    assert not index.exists()


def test_the_key_tells_recognisers_batches_and_code_apart(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "hubert"}))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    split = split_of(FakeRecogniser(songs(3)), budget=1)
    before = cache_key(tmp_path, split)
    assert cache_key(tmp_path, split) == before
    assert set(before) == {"checkpoint", "batches", "code", "libraries"}
    assert torch.__version__ in before["libraries"]
    other = cache_key(tmp_path, replace(split, batches=split.batches[::-1]))
    assert {key for key in before if before[key] != other[key]} == {"batches"}
    for name, content in (("config.json", b'{"model_type":  "hubert"}'), ("model.safetensors", b"Weights")):
        (tmp_path / name).write_bytes(content)
        now = cache_key(tmp_path, split)
        assert {key for key in before if before[key] != now[key]} == {"checkpoint"}, name
        before = now
    digested = []
    monkeypatch.setattr(hidden_values, "code_digest", lambda *arguments: digested.append(arguments) or "digest")
    assert cache_key(tmp_path, split)["code"] == "digest digest"
    package = Path(hidden_values.__file__).parent.parent
    assert [script for script, _, _ in digested] == [
        package / "recognisers/load_recogniser.py",
        package / "search/hidden_values.py",
    ]
    assert {root for _, root, _ in digested} == {package.parent}
    assert [chosen for _, _, chosen in digested] == [{"family": "wav2vec2"}] * 2


def test_a_pass_stores_what_enters_each_layer(tmp_path, monkeypatch):
    """All layers of the fake recogniser, whose states have two tensors; each is what a pass to there gives."""
    monkeypatch.setattr(hidden_values, "MACS_PER_BYTE", 0)
    calibrated = calibrate_fake(FakeRecogniser(songs()), tmp_path, cache_mb=1)
    found, recogniser = calibrated.calibration.hidden_values, FakeRecogniser(songs())
    assert sorted(found.layers) == [1, 2, 3, 4]
    for number, batch in enumerate(calibrated.split.batches):
        context = recogniser.context([u.samples for u in batch])
        for layer in found.layers:
            expected = recogniser.run(recogniser.load(batch), 0, layer, context)
            stored = found.load(layer, number)
            assert stored.keys() == expected.keys()
            assert all(np.array_equal(stored[name], values.numpy()) for name, values in expected.items())
