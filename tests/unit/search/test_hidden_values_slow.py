"""Stored hidden values of the demo: the same answers with and without, and never used where they do not belong."""

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from calibrating import Calibrated, calibrate
from recognising import heard, split_in, torch_network

from stablequant.errors import StableQuantError
from stablequant.search.costs import layer_costs, passes
from stablequant.search.probe_layer import probe_layers
from stablequant.search.search_percentile import mark_best, search_percentile
from stablequant.search.split import Split, padded_samples
from stablequant.storage.files import read_json

pytestmark = pytest.mark.slow_unit

GRID = [99.99, 99.5, 98.0]
LAYERS = ["cnn02", "cnn06", "positional", "transformer01", "transformer09", "head"]


@pytest.fixture(scope="module")
def split(demo, demo_utterances) -> Split:
    return split_in(demo, demo_utterances[:20])


def search(calibrated: Calibrated, layer: str) -> list[dict]:
    candidates = search_percentile(
        calibrated.recogniser, calibrated.of(layer), calibrated.histograms, GRID, calibrated.calibration
    )
    return [c.row() for c in mark_best(candidates)]


def probes(calibrated: Calibrated, layers: list[str]) -> list:
    recogniser, calibration = calibrated.recogniser, calibrated.calibration
    return probe_layers(recogniser, calibrated.modules, layers, calibrated.largest, calibration, 0.25)


@pytest.fixture(scope="module")
def plain(demo, split, tmp_path_factory) -> Calibrated:
    return calibrate(demo.recogniser(), split, tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("cache_mb", [8, 1000])
def test_probes_and_searches_find_the_same_from_stored_hidden_values_and_compute_less(
    demo, split, plain, tmp_path, cache_mb
):
    kept = calibrate(demo.recogniser(), split, tmp_path, cache_mb=cache_mb)
    assert 0 < len(kept.calibration.hidden_values.layers) < len(kept.recogniser.layers)
    assert sum(f.stat().st_size for f in (tmp_path / "hidden_values").iterdir()) < cache_mb * 1.05e6
    for calibrated in (plain, kept):
        calibrated.recogniser.samples.clear()
    expected = [probes(plain, [layer])[0] for layer in LAYERS]
    assert [probes(kept, [layer])[0] for layer in LAYERS] == expected
    assert search(kept, "transformer09") == search(plain, "transformer09")
    costs = layer_costs(demo.recogniser())
    total = padded_samples(demo.recogniser(), split.batches)
    computed = [passes(c.recogniser.samples, costs, total) for c in (plain, kept)]
    assert computed[1] < 0.85 * computed[0]
    assert probes(kept, LAYERS) == expected, "several layers in one job find something else"


def test_fp32_is_what_plain_recognition_hears(demo, split, plain):
    summary = read_json(plain.calibration.reference.posteriors.path.with_name("reference.json"))
    found = {row["path"]: row["hypothesis"] for row in summary["utterances"]}
    assert found == heard(demo, torch_network(demo.model), split.utterances)


def test_half_precision_is_kept_where_no_hypothesis_changes_and_dropped_where_one_does(
    demo, split, plain, tmp_path, caplog
):
    kept = calibrate(demo.recogniser(), split, tmp_path, cache_mb=1000, half=True)
    hidden_values = kept.calibration.hidden_values
    assert len(hidden_values.layers) > 10
    for layer in hidden_values.layers:
        assert {values.dtype for values in hidden_values.load(layer, 0).values()} == {np.dtype(np.float32)}
    assert [o.errors for o in probes(kept, ["transformer09"])] == [o.errors for o in probes(plain, ["transformer09"])]
    spiked = copy.deepcopy(demo.model)  # what enters transformer05 no longer fits into half precision
    layers = spiked.hubert.encoder.layers
    layers[3].final_layer_norm.weight *= 1e6
    layers[3].final_layer_norm.bias *= 1e6
    with caplog.at_level("WARNING"):
        dropped = calibrate(demo.recogniser(spiked), split, tmp_path, cache_mb=1000, half=True)
    place = dropped.recogniser.layers.index("transformer05")
    assert place not in dropped.calibration.hidden_values.layers
    assert not (tmp_path / "hidden_values/transformer05.safetensors").exists()
    told = [text for text in caplog.messages if text.startswith("half precision changes a hypothesis: ")]
    assert len(told) == 1 and "transformer05" in told[0]
    assert place - 1 in dropped.calibration.hidden_values.layers


def test_reduced_precision_is_used_only_where_no_hypothesis_changes(demo, split, tmp_path, caplog):
    spiked = copy.deepcopy(demo.model)
    spiked.hubert.encoder.layers[3].final_layer_norm.weight *= 1e6  # beyond float16
    with caplog.at_level("WARNING"):
        refused = calibrate(demo.recogniser(spiked), split, tmp_path, precision="float16")
    assert refused.calibration.reference.precision == "float32"
    assert "float16 changes a hypothesis" in caplog.text
    few = replace(split, batches=split.batches[:1], utterances=split.batches[0])
    found = calibrate(demo.recogniser(), few, tmp_path, precision="bfloat16").calibration.reference.precision
    recogniser = demo.recogniser()
    context, audio = recogniser.context([u.samples for u in few.utterances]), recogniser.load(few.utterances)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        logits = demo.model(audio["hidden"]).logits
    spoken = [demo.front_end.vocabulary.decode(row.argmax(-1)) for row in context.rows(logits.float())]
    exact = heard(demo, torch_network(demo.model), few.utterances)
    assert (found == "bfloat16") == (spoken == [exact[u.path] for u in few.utterances])


def test_nothing_is_kept_where_the_search_computes_in_reduced_precision(demo, split, tmp_path):
    """What is proven is that words recognised from the audio on stay the same, not from values kept in fp32."""
    few = replace(split, batches=split.batches[:1], utterances=split.batches[0])
    calibrated = calibrate(demo.recogniser(), few, tmp_path, cache_mb=1000, precision="bfloat16")
    assert calibrated.calibration.hidden_values.layers == []


@pytest.fixture
def kept(demo, split, tmp_path) -> Path:
    """Index of cached hidden values that belong to `split`."""
    calibrate(demo.recogniser(), split, tmp_path, cache_mb=8)
    return tmp_path / "hidden_values.json"


def test_what_was_kept_is_given_up_before_anything_else_is_written_in_its_place(demo, split, kept, monkeypatch):
    monkeypatch.setattr("stablequant.search.recognise_reference.loaded", interrupt)
    with pytest.raises(KeyboardInterrupt):
        calibrate(demo.recogniser(), split, kept.parent, cache_mb=1000)
    assert not kept.exists()


def interrupt(*_):
    raise KeyboardInterrupt


def test_too_small_a_budget_and_a_full_disk_are_told(demo, split, tmp_path, monkeypatch, caplog):
    with caplog.at_level("WARNING"):
        calibrate(demo.recogniser(), split, tmp_path, cache_mb=0.1)
    assert "0.1 MB cannot hold any layer's hidden values" in caplog.text
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5_000_000))
    with pytest.raises(StableQuantError, match=r"only 5 MB are free, .* need \d+ MB; free some, or lower 'disk_mb'"):
        calibrate(demo.recogniser(), split, tmp_path, cache_mb=1000)
