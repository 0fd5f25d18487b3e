"""What a job of the search reads from its input files."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from fake_recogniser import LAYERS, MODULES, WEIGHTS, FakeRecogniser, calibrate_fake, songs, split_of, utterances_of

from stablequant.corpora.utterance import Utterance, table_of
from stablequant.errors import StableQuantError
from stablequant.quantization.channel_scales import save_channel_scales
from stablequant.quantization.int8 import quantize_weight
from stablequant.quantization.int8_weights import save_rounded
from stablequant.search import hidden_values, session
from stablequant.search.hidden_values import cache_key
from stablequant.search.racing import Racing
from stablequant.search.recognise_reference import Cache, recognise_reference
from stablequant.search.session import Settings, read_search
from stablequant.search.split import read_split
from stablequant.storage.files import write_table


class Inputs(SimpleNamespace):
    def get(self, name: str) -> str | None:
        return getattr(self, name, None)


@pytest.fixture
def inputs(tmp_path, monkeypatch) -> Inputs:
    """Files of a project, made by the fp32 pass of the fake recogniser, which takes the place of any checkpoint's."""
    monkeypatch.setattr(hidden_values, "MACS_PER_BYTE", 0)
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text(json.dumps({"model_type": "hubert"}))
    recogniser = FakeRecogniser(songs(20))
    calibrated = calibrate_fake(recogniser, tmp_path)
    write_table(tmp_path / "utterances.tsv", table_of(utterances_of(recogniser), Utterance))
    save_channel_scales(tmp_path / "scales.safetensors", {"deep": np.full(6, 2, dtype=np.float32)})
    save_rounded(tmp_path / "weights.safetensors", {name: quantize_weight(w) for name, w in WEIGHTS.items()})
    split = read_split(recogniser, tmp_path / "utterances.tsv", 1.2e-3, 3)
    recognise_reference(recogniser, split, calibrated.files, Cache(cache_key(checkpoint, split), 1))
    asked = []

    def load(folder, device: str, threads: int) -> FakeRecogniser:
        asked.append((folder, device, threads))
        return FakeRecogniser(songs(20))

    monkeypatch.setattr(session, "load_recogniser", load)
    return Inputs(
        checkpoint=str(checkpoint),
        utterances=str(tmp_path / "utterances.tsv"),
        channel_scales=str(tmp_path / "scales.safetensors"),
        weights=str(tmp_path / "weights.safetensors"),
        summary=str(calibrated.files.summary),
        posteriors=str(calibrated.files.posteriors),
        asked=asked,
        folder=tmp_path,
    )


def test_a_search_of_all_layers(inputs):
    search = read_search(inputs, Settings("cpu", 2, 1.2e-3, 3))
    assert inputs.asked == [(inputs.folder / "checkpoint", "cpu", 2)]
    assert search.modules == MODULES
    assert search.racing is None
    calibration = search.calibration
    assert calibration.split == read_split(FakeRecogniser(songs(20)), inputs.folder / "utterances.tsv", 1.2e-3, 3)
    assert calibration.hidden_values is None
    assert calibration.seed == 3
    assert {name: scales.tolist() for name, scales in calibration.channel_scales.items()} == {"deep": [2.0] * 6}
    assert calibration.rounded.keys() == WEIGHTS.keys()
    assert calibration.reference.errors.words.sum() > 20
    assert search.recogniser.dtype.is_floating_point and search.recogniser.layers == LAYERS


def test_a_search_of_some_layers_with_racing_and_stored_values(inputs):
    inputs.hidden_values = str(inputs.folder / "hidden_values.json")
    search = read_search(inputs, Settings("cpu", 2, 1.2e-3, 3), ["mix", "head"])
    assert [m.module for m in search.modules] == ["mix.left", "mix.right", "mix.out", "head"]
    assert search.calibration.rounded.keys() == {m.module for m in search.modules}
    assert search.calibration.hidden_values.layers == [1, 2, 3, 4]
    raced = read_search(Inputs(**{**vars(inputs), "hidden_values": None}), Settings("cpu", 2, 1.2e-3, 3, 0.9))
    assert raced.racing == Racing(0.9, 3)
    assert raced.calibration.split == read_split(
        FakeRecogniser(songs(20)), inputs.folder / "utterances.tsv", 1.2e-3, 3, raced=True
    )
    assert raced.calibration.split.batches != search.calibration.split.batches
    with pytest.raises(StableQuantError, match="made with other audio or other batches"):
        read_search(inputs, Settings("cpu", 2, 1.2e-3, 4))


def test_the_precision_that_was_verified_is_used(inputs):
    assert read_search(inputs, Settings("cpu", 2, 1.2e-3, 3)).recogniser.dtype.itemsize == 4
    summary = json.loads((inputs.folder / "reference.json").read_text())
    (inputs.folder / "reference.json").write_text(json.dumps(summary | {"precision": "bfloat16"}))
    reduced = read_search(inputs, Settings("cpu", 2, 1.2e-3, 3))
    assert str(reduced.recogniser.dtype) == "torch.bfloat16"
    assert split_of(reduced.recogniser).utterances


def test_in_reduced_precision_only_the_weights_of_the_quantized_layers_stay_exact(inputs):
    summary = json.loads((inputs.folder / "reference.json").read_text())
    (inputs.folder / "reference.json").write_text(json.dumps(summary | {"precision": "bfloat16"}))
    model = read_search(inputs, Settings("cpu", 2, 1.2e-3, 3), ["deep"]).recogniser.model
    kept = {m.module for m in MODULES if model.get_submodule(m.module).weight.element_size() == 4}
    assert kept == {"deep"}
