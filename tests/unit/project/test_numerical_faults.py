"""What happens to numbers that break arithmetic: refused by name, or a defined and finite result."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import soundfile
import torch
from calibrating import Calibrated, calibrate
from recognising import Loaded
from wav2vec2_files import tiny_model, write_tiny_checkpoint

from stablequant.corpora.utterance import Utterance
from stablequant.engines.evaluate_engine import recognise
from stablequant.engines.insert_qdq import insert_qdq
from stablequant.errors import StableQuantError
from stablequant.quantization.collecting import Preparation
from stablequant.quantization.least_error import mse_range
from stablequant.quantization.simulation import fake_quantized, fake_quantized_weights
from stablequant.recognisers.ctc.export_onnx import export_logits
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.recogniser import Recognised
from stablequant.search.probe_layer import Probe, probe_layers
from stablequant.search.search_percentile import mark_best, search_percentile, unclipped
from stablequant.search.split import Split, check_finite
from stablequant.storage.files import checksum
from stablequant.storage.onnx_graph import save_graph

RATE = 16_000


def split_of(folder: Path, recordings: dict[str, np.ndarray]) -> Split:
    """A calibration set of these recordings, one utterance in a batch."""
    utterances = []
    for name, samples in recordings.items():
        path = folder / f"{name}.wav"
        soundfile.write(path, samples, RATE, subtype="FLOAT")
        utterances.append(Utterance(name, str(path), len(samples), "a", checksum(path)))
    return Split(utterances, [[u] for u in utterances], RATE)


def probe(calibrated: Calibrated, layers: list[str]) -> list[Probe]:
    """Each layer quantized to its largest values."""
    recogniser, calibration = calibrated.recogniser, calibrated.calibration
    return probe_layers(recogniser, calibrated.modules, layers, calibrated.largest, calibration, 0.25)


def all_finite(ranges: dict) -> bool:
    return all(np.isfinite([r.low, r.high, r.scale, r.centre]).all() and r.scale > 0 for r in ranges.values())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", ["encoder.layers.1.feed_forward.output_dense.weight", "lm_head.bias"])
def test_weights_that_are_not_finite_are_refused(tmp_path, value, place):
    write_tiny_checkpoint(tmp_path / "source")
    model = tiny_model()
    weights = model.get_parameter(place if place.startswith("lm_head") else f"hubert.{place}")
    weights.data.view(-1)[3] = value
    model.save_pretrained(tmp_path / "source")
    with pytest.raises(StableQuantError, match="the weights contain NaN or infinity; take an intact checkpoint"):
        import_checkpoint(str(tmp_path / "source"), tmp_path / "checkpoint")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_outputs_that_are_not_finite_are_refused_and_never_decoded(tiny, tmp_path, value):
    batch = split_of(tmp_path, {"whole": np.ones(RATE), "broken": np.ones(RATE)}).utterances
    logits = np.zeros((2, 49, 32), dtype=np.float32)
    logits[1, 20, 5] = value
    refused = r"broken\.wav: the network's output contains NaN or infinity; take an intact checkpoint"
    with pytest.raises(StableQuantError, match=refused):
        check_finite(batch, [Recognised("A", rows) for rows in logits])
    with pytest.raises(StableQuantError, match=refused):
        recognise(tiny.decoder(lambda _: {"logits": logits}), [batch], RATE, "test")


def test_weights_that_overflow_are_refused_in_the_first_pass(tiny, tmp_path):
    """Finite weights whose products are not."""
    model = tiny_model()
    model.hubert.encoder.layers[0].feed_forward.intermediate_dense.weight.data.fill_(3e38)
    split = split_of(tmp_path, {"noise": np.random.default_rng(0).normal(size=RATE) / 10})
    with pytest.raises(StableQuantError, match="the recogniser's activations: they contain NaN or infinity"):
        calibrate(tiny.recogniser(model), split, tmp_path)


@pytest.mark.parametrize(
    "recordings",
    [
        {"silence": np.zeros(RATE)},
        {"constant": np.full(RATE, 0.25)},
        {"click": np.eye(1, RATE, 5000)[0], "silence": np.zeros(2 * RATE)},
        {"loud": np.sign(np.sin(np.arange(RATE))), "quiet": np.full(RATE, 1e-30)},
    ],
    ids=lambda recordings: "-".join(recordings),
)
def test_silence_and_constants_are_quantized_to_finite_numbers_as_the_engine_does(tiny, tmp_path, recordings):
    split = split_of(tmp_path, recordings)
    calibrated = calibrate(tiny.recogniser(), split, tmp_path, Preparation(recentre=True, split_audio=True))
    ranges = {name: mse_range(histogram, 99.9) for name, histogram in calibrated.prepared.items()}
    assert all_finite(ranges) and all_finite(calibrated.largest)
    outcomes = probe(calibrated, ["cnn01", "head"])
    assert all(np.isfinite([o.wer, o.degradation, o.divergence]).all() for o in outcomes)
    save_graph(export_logits(tiny.model, tiny.modules, shortest=400), tmp_path / "fp32.onnx")
    insert_qdq({"model": tmp_path / "fp32.onnx"}, tiny.modules, ranges, {}, {"model": tmp_path / "int8.onnx"})
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(tmp_path / "int8.onnx", options, providers=["CPUExecutionProvider"])
    audio = torch.from_numpy(next(iter(recordings.values()))[None]).float()
    weights = fake_quantized_weights(tiny.model, tiny.modules, {})
    with fake_quantized(tiny.model, tiny.modules, ranges, {}, weights), torch.inference_mode():
        simulated = tiny.model(audio).logits.numpy()
    found = session.run(["logits"], {"input_values": audio.numpy()})[0]
    assert np.isfinite(found).all()
    assert np.linalg.norm(found - simulated) <= 0.02 * np.linalg.norm(simulated)


def test_a_channel_that_never_speaks_is_harmless(tmp_path):
    """Weights that produce, and weights that read, one channel of the feed-forward block are zero."""
    write_tiny_checkpoint(tmp_path / "source")
    model = tiny_model()
    block = model.hubert.encoder.layers[0].feed_forward
    block.intermediate_dense.weight.data[7] = 0
    block.intermediate_dense.bias.data[7] = 0
    block.output_dense.weight.data[:, 7] = 0
    block.output_dense.weight.data[3] = 0  # and an output that reads nothing: its scale would be 0
    model.save_pretrained(tmp_path / "source")
    import_checkpoint(str(tmp_path / "source"), tmp_path / "checkpoint")
    recogniser = Loaded.load(tmp_path / "checkpoint").recogniser()
    split = split_of(tmp_path, {"noise": np.random.default_rng(0).normal(size=RATE) / 10})
    (outcome,) = probe(calibrate(recogniser, split, tmp_path, Preparation(recentre=True)), ["transformer01"])
    assert np.isfinite(outcome.divergence)
    assert outcome.divergence < 1, "the rest of the layer suffers"


def test_where_every_cut_off_is_worse_than_none_the_layer_is_not_clipped(tiny, tmp_path):
    """Clipping is made harmful by cut-offs that leave next to nothing of the layer's input."""
    split = split_of(tmp_path, {str(i): np.random.default_rng(i).normal(size=RATE) / 10 for i in range(3)})
    calibrated = calibrate(tiny.recogniser(), split, tmp_path)
    (probed,) = probe(calibrated, ["transformer02"])
    row = {"layer": "transformer02", "kind": "transformer", **vars(probed)}
    tried = search_percentile(
        calibrated.recogniser, calibrated.of("transformer02"), calibrated.prepared, [20.0, 5.0], calibrated.calibration
    )
    assert min(c.outcome.divergence for c in tried) > probed.divergence
    whole = unclipped([row], "transformer02")
    (best,) = [c for c in mark_best([*whole, *tried]) if c.best]
    assert best.percentile == 100
    assert best.outcome.wer == probed.wer
    assert unclipped([row | {"errors": [0, None, 0]}], "transformer02") == [], "racing ended it early"


def test_float32_is_not_tensorfloat32_where_the_recogniser_runs(tiny):
    """That rounds what a GPU's convolutions read to ten bits, and is PyTorch's default."""
    assert tiny.model is not None  # loaded
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
