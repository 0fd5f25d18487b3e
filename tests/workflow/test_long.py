"""A corpus larger than memory: what the search and the evaluation hold does not grow with the audio.

The manifest is synthetic, one of the demo's utterances under many names; ``STABLEQUANT_HOURS=12`` makes it that long.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, Recogniser, write_speech, write_tiny_checkpoint

from stablequant.corpora.list_utterances import Utterance, list_utterances, table_of
from stablequant.corpora.manifests import read_manifest
from stablequant.engines import openvino
from stablequant.recognisers.ctc.export_onnx import export_onnx
from stablequant.recognisers.ctc.front_end import read_front_end
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.storage.files import write_table

HOURS = float(os.environ.get("STABLEQUANT_HOURS", "1.5"))
SHORT = HOURS / 10
LIMIT = 4 * 2**30  # bytes of address space
JOB = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]), int(sys.argv[3])))
from pathlib import Path
from stablequant.search.activations import Activations
from stablequant.search.equalise_channels import equalise_channels
from stablequant.search.check_combination import Choice, Combination, check_combination
from stablequant.engines import openvino
from stablequant.engines.evaluate_engine import evaluate
from stablequant.recognisers.wav2vec2.layers import quantized_modules
from stablequant.workflow.memory import peak_rss_bytes
from stablequant.search.search_percentile import search_percentile
from stablequant.quantization.ranges import full_range
from stablequant.recognisers.wav2vec2.loading import load_recogniser
from stablequant.search.recognise_reference import Files, load_reference, read_split, recognise_reference
from stablequant.search.probe_layer import probe_layers
from stablequant.recognisers.wav2vec2.forward import Stages
from stablequant.search.trials import Calibration
from stablequant.search.round_weights import round_weights

checkpoint, folder = Path(sys.argv[1]), Path(sys.argv[2])
peaks = {}

def note(step):
    peaks[step] = peak_rss_bytes()

model = load_recogniser(checkpoint, threads=2)
stages = Stages(model)
modules = quantized_modules(model.config.to_dict())
split = read_split(checkpoint, folder / "utterances.tsv", 50, 0)
scales = equalise_channels(stages, modules, split, 0.75, 99.9, 120)
note("channels")
rounded = round_weights(stages, modules, split, scales, 60)
note("weights")
files = Files(folder / "reference.json", folder / "posteriors.safetensors", folder / "activations.json")
found = recognise_reference(stages, modules, split, files, 10_000, scales, recentre=True)
note("reference")
activations = Activations(files.activations, split.belongs, stages.names)
calibration = Calibration(split, load_reference(files.summary, files.posteriors), activations, 0, scales, rounded)
ranges = {name: full_range(h) for name, h in found.prepared.items()}
probe_layers(stages, modules, ["transformer02"], ranges, calibration, 0.25)
note("probe")
last = [m for m in modules if m.layer == "transformer02"]
search_percentile(stages, last, found.prepared, [99.9, 99.0], calibration)
note("search")
combination = Combination(stages, modules, found.prepared, calibration)
check_combination(combination, Choice({}, frozenset()), [99.9], ["head"], 100, 60, False)
note("combination")
infer, _ = openvino.load(checkpoint.parent, 2)
evaluation = evaluate(infer, split.utterances, split.batches, split.front_end, 1)
note("evaluation")
stored = sum(f.stat().st_size for f in folder.rglob("*.safetensors"))
print(json.dumps({"peaks": peaks, "stored": stored, "hours": evaluation.audio_seconds / 3600}))
"""


def measure(folder: Path, checkpoint: Path, hours: float) -> dict:
    """Peak memory by step of the calibration's and the evaluation's work on ``hours`` of audio."""
    folder.mkdir()
    (file,) = write_speech(folder / "speech", folder / "manifest.tsv", 1)
    (first,), _ = list_utterances(read_manifest(folder / "manifest.tsv"), read_front_end(checkpoint))
    count = round(hours * 3600 * 16_000 / first.samples)
    listed = [first]
    for number in range(1, count):
        path = folder / f"{number}.flac"
        path.hardlink_to(file)
        listed.append(Utterance(path.stem, str(path), first.samples, first.transcript, first.sha256))
    write_table(folder / "utterances.tsv", table_of(listed, Utterance))
    done = subprocess.run(
        [sys.executable, "-c", JOB, str(checkpoint), str(folder), str(LIMIT)],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_memory_is_flat_however_long_the_audio(tmp_path):
    write_tiny_checkpoint(tmp_path / "source")
    import_checkpoint(str(tmp_path / "source"), tmp_path / "checkpoint")
    tiny = Recogniser.load(tmp_path / "checkpoint")
    export_onnx(tiny.model, tiny.modules, tmp_path / "fp32.onnx")
    openvino.build(tmp_path / "fp32.onnx", tmp_path)
    short = measure(tmp_path / "short", tmp_path / "checkpoint", SHORT)
    long = measure(tmp_path / "long", tmp_path / "checkpoint", HOURS)
    print(short, long)
    assert long["hours"] == pytest.approx(HOURS, rel=0.01)
    assert long["stored"] > 5 * short["stored"]
    for step, peak in long["peaks"].items():
        grown = peak - short["peaks"][step]
        assert grown < 0.25 * short["peaks"][step], f"{step}: {grown / 1e6:.0f} MB more"  # ten times the audio
        assert grown < 0.1 * (long["stored"] - short["stored"]), step
