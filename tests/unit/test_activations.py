"""Stored activations: the same answers with and without, and never used where they do not belong."""

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import Calibrated, batches_of, calibrate, heard

from stablequant.errors import StableQuantError
from stablequant.recognisers.batches import load_batch
from stablequant.recognisers.wav2vec2.forward import Stages
from stablequant.recognisers.wav2vec2.layers import layer_names
from stablequant.recognisers.wav2vec2.loading import torch_infer
from stablequant.search.activation_folder import release
from stablequant.search.activations import Activations, choose_layers, identity
from stablequant.search.costs import Cost, layer_costs, passes, recomputed
from stablequant.search.probe_layer import probe_layers
from stablequant.search.recognise_reference import Split
from stablequant.search.search_percentile import mark_best, search_percentile
from stablequant.storage.files import read_json

GRID = [99.99, 99.5, 98.0]
LAYERS = ["cnn02", "cnn06", "positional", "transformer01", "transformer09", "head"]
FLOAT32 = np.dtype(np.float32)


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
    assert len(choose_layers(costs, 4, np.dtype(np.float16))) == 2 * len(choose_layers(costs, 4, FLOAT32))
    assert choose_layers([Cost(8, 1)] * 2, 100, FLOAT32) == []


@pytest.fixture(scope="module")
def split(demo, demo_utterances) -> Split:
    few = demo_utterances[:20]
    return Split(few, batches_of(demo, few, 2e7), demo.front_end, {"checkpoint": "demo"})


def search(calibrated: Calibrated, layer: str) -> list[dict]:
    candidates = search_percentile(
        calibrated.stages, calibrated.of(layer), calibrated.histograms, GRID, calibrated.calibration
    )
    return [c.row() for c in mark_best(candidates)]


def probes(calibrated: Calibrated, layers: list[str]) -> list:
    return probe_layers(calibrated.stages, calibrated.modules, layers, calibrated.largest, calibrated.calibration, 0.25)


@pytest.fixture(scope="module")
def plain(demo, split, tmp_path_factory) -> Calibrated:
    return calibrate(demo, demo.model, split, tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("cache_mb", [8, 1000])
def test_probes_and_searches_find_the_same_from_stored_activations_and_compute_less(
    demo, split, plain, tmp_path, cache_mb
):
    kept = calibrate(demo, demo.model, split, tmp_path, cache_mb)
    assert 0 < len(kept.calibration.activations.layers) < len(kept.stages.names)
    assert sum(f.stat().st_size for f in (tmp_path / "activations").iterdir()) < cache_mb * 1.05e6
    for calibrated in (plain, kept):
        calibrated.stages.samples.clear()
    expected = [probes(plain, [layer])[0] for layer in LAYERS]
    assert [probes(kept, [layer])[0] for layer in LAYERS] == expected
    assert search(kept, "transformer09") == search(plain, "transformer09")
    costs = layer_costs(Stages(demo.model))
    computed = [passes(c.stages.samples, costs, split.samples) for c in (plain, kept)]
    assert computed[1] < 0.85 * computed[0]
    assert probes(kept, LAYERS) == expected, "several layers in one job find something else"


def test_fp32_is_what_plain_recognition_hears(demo, split, plain):
    summary = read_json(plain.calibration.reference.log_posteriors.path.with_name("reference.json"))
    found = {row["path"]: row["hypothesis"] for row in summary["utterances"]}
    assert found == heard(demo, torch_infer(demo.model), split.utterances)


def test_half_precision_is_kept_where_no_hypothesis_changes_and_dropped_where_one_does(
    demo, split, plain, tmp_path, caplog
):
    kept = calibrate(demo, demo.model, split, tmp_path, 1000, half=True)
    activations = kept.calibration.activations
    assert len(activations.layers) > 10
    for layer in activations.layers:
        assert activations.load(layer, 0).dtype == np.float32
    assert [o.errors for o in probes(kept, ["transformer09"])] == [o.errors for o in probes(plain, ["transformer09"])]
    spiked = copy.deepcopy(demo.model)  # what enters transformer05 no longer fits into half precision
    layers = spiked.hubert.encoder.layers
    layers[3].final_layer_norm.weight *= 1e6
    layers[3].final_layer_norm.bias *= 1e6
    with caplog.at_level("WARNING"):
        dropped = calibrate(demo, spiked, split, tmp_path, 1000, half=True)
    place = dropped.stages.names.index("transformer05")
    assert place not in dropped.calibration.activations.layers
    assert not (tmp_path / "activations/transformer05.safetensors").exists()
    assert "transformer05 changes a hypothesis: not kept" in caplog.text
    assert place - 1 in dropped.calibration.activations.layers


def test_reduced_precision_is_used_only_where_no_hypothesis_changes(demo, split, tmp_path, caplog):
    spiked = copy.deepcopy(demo.model)
    spiked.hubert.encoder.layers[3].final_layer_norm.weight *= 1e6  # beyond float16
    with caplog.at_level("WARNING"):
        assert (
            calibrate(demo, spiked, split, tmp_path, precision="float16").calibration.reference.precision == "float32"
        )
    assert "float16 changes a hypothesis" in caplog.text
    few = replace(split, batches=split.batches[:1], utterances=split.batches[0])
    found = calibrate(demo, demo.model, few, tmp_path, precision="bfloat16").calibration.reference.precision
    frames = Stages(demo.model).frames([u.samples for u in few.utterances])
    audio = load_batch(few.utterances, demo.front_end)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        logits = demo.model(torch.from_numpy(audio)).logits
    spoken = [demo.front_end.vocabulary.decode(row.argmax(-1)) for row in frames.rows(logits.float())]
    exact = heard(demo, torch_infer(demo.model), few.utterances)
    assert (found == "bfloat16") == (spoken == [exact[u.path] for u in few.utterances])


def test_nothing_is_kept_where_the_search_computes_in_reduced_precision(demo, split, tmp_path):
    """What is proven is that words recognised from the audio on stay the same, not from values kept in fp32."""
    few = replace(split, batches=split.batches[:1], utterances=split.batches[0])
    assert calibrate(demo, demo.model, few, tmp_path, 1000, precision="bfloat16").calibration.activations.layers == []


@pytest.fixture
def kept(demo, split, tmp_path) -> Path:
    """Index of stored activations that belong to `split`."""
    calibrate(demo, demo.model, split, tmp_path, 8)
    return tmp_path / "activations.json"


def test_activations_of_something_else_are_refused(kept, split):
    names = layer_names(7, 10)
    assert Activations(kept, split.belongs, names).layers
    with pytest.raises(StableQuantError, match=r"activations\.json: made with another checkpoint; delete it"):
        Activations(kept, {"checkpoint": "another"}, names)


def test_incomplete_activations_are_refused_and_released_ones_are_computed_again(kept, split):
    names = layer_names(7, 10)
    file = next(kept.with_suffix("").iterdir())
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    remedy = r"delete \S+activations\.json, and run again"  # the layer's file alone would not be made again
    with pytest.raises(StableQuantError, match=rf"{file.name}: damaged or incomplete .*; {remedy}"):
        Activations(kept, split.belongs, names)
    file.unlink()
    with pytest.raises(StableQuantError, match=f"{file.name}.*{remedy}"):
        Activations(kept, split.belongs, names)
    file.write_bytes(content)
    assert release(kept) >= len(content)
    assert release(kept) == 0
    assert [path.name for path in kept.parent.glob("*activations*")] == [kept.name]
    assert Activations(kept, split.belongs, names).nearest(15) == 0


def test_identity_tells_recognisers_and_batches_apart(tmp_path, split):
    (tmp_path / "config.json").write_bytes(b"{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = identity(tmp_path, split.batches)
    assert identity(tmp_path, split.batches) == before
    other = identity(tmp_path, split.batches[::-1])
    assert {key for key in before if before[key] != other[key]} == {"batches"}
    for name, content in (("config.json", b"{ }"), ("model.safetensors", b"Weights")):
        (tmp_path / name).write_bytes(content)
        now = identity(tmp_path, split.batches)
        assert {key for key in before if before[key] != now[key]} == {"checkpoint"}, name
        before = now


def test_what_was_kept_is_given_up_before_anything_else_is_written_in_its_place(demo, split, kept, monkeypatch):
    monkeypatch.setattr("stablequant.search.recognise_reference.loaded", interrupt)
    with pytest.raises(KeyboardInterrupt):
        calibrate(demo, demo.model, split, kept.parent, 1000)
    assert not kept.exists()


def interrupt(*_):
    raise KeyboardInterrupt


def test_too_small_a_budget_and_a_full_disk_are_told(demo, split, tmp_path, monkeypatch, caplog):
    with caplog.at_level("WARNING"):
        calibrate(demo, demo.model, split, tmp_path, 0.1)
    assert "0.1 MB hold no layer's hidden values" in caplog.text
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5_000_000))
    with pytest.raises(StableQuantError, match=r"5 MB are free, .* take \d+ MB; free some, or lower 'disk_mb'"):
        calibrate(demo, demo.model, split, tmp_path, 1000)
