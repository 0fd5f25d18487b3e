"""A corpus larger than memory: what the search and the evaluation hold does not grow with the audio.

The manifest is synthetic, one of the demo's utterances under many names; ``STABLEQUANT_HOURS=12`` makes it that long.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import PROJECT
from graphs import build, export
from listing import write_speech
from recognising import Loaded
from wav2vec2_files import write_tiny_checkpoint

from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import read_manifest
from stablequant.corpora.utterance import Utterance, table_of
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.registry import family_of
from stablequant.storage.files import write_table

HOURS = float(os.environ.get("STABLEQUANT_HOURS", "1.5"))
SHORT = HOURS / 10
LIMIT = 4 * 2**30  # bytes of address space
JOB = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[4]), int(sys.argv[4])))
from pathlib import Path
from stablequant.engines.evaluate_engine import evaluate
from stablequant.engines.running import Stopwatch, load_engine
from stablequant.quantization.collecting import Preparation
from stablequant.quantization.ranges import full_range
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.sizes import MEGABYTE
from stablequant.search.hidden_values import HiddenValues, cache_key
from stablequant.search.check_combination import check_combination
from stablequant.search.combination import Choice, Combination
from stablequant.search.equalise_channels import equalise_channels
from stablequant.search.probe_layer import probe_layers
from stablequant.search.recognise_reference import Cache, Files, recognise_reference
from stablequant.search.reference import load_reference
from stablequant.search.round_weights import round_weights
from stablequant.search.search_percentile import search_percentile
from stablequant.search.split import read_split
from stablequant.search.trials import Calibration
from stablequant.workflow.memory import peak_rss_bytes

checkpoint, engine, folder = (Path(argument) for argument in sys.argv[1:4])
peaks = {}

def note(step):
    peaks[step] = peak_rss_bytes()

recogniser = load_recogniser(checkpoint, threads=2)
split = read_split(recogniser, folder / "utterances.tsv", 50, 0)
scales = equalise_channels(recogniser, split, 0.75, 99.9, 120)
note("channels")
rounded = round_weights(recogniser, split, scales, 60)
note("weights")
files = Files(folder / "reference.json", folder / "posteriors.safetensors", folder / "hidden_values.json")
key = cache_key(checkpoint, split)
found = recognise_reference(recogniser, split, files, Cache(key, 10_000), Preparation(scales, recentre=True))
note("reference")
hidden_values = HiddenValues(files.hidden_values, key, recogniser.layers)
calibration = Calibration(split, load_reference(files.summary, files.posteriors), hidden_values, 0, scales, rounded)
ranges = {name: full_range(h) for name, h in found.prepared.items()}
probe_layers(recogniser, recogniser.modules, ["transformer02"], ranges, calibration, 0.25)
note("probe")
last = [m for m in recogniser.modules if m.layer == "transformer02"]
search_percentile(recogniser, last, found.prepared, [99.9, 99.0], calibration)
note("search")
combination = Combination(recogniser, recogniser.modules, found.prepared, calibration)
check_combination(combination, Choice({}, frozenset()), [99.9], ["head"], 100, 60, False)
note("combination")
clock = Stopwatch()
decoder = family_of(engine).decoder(engine, clock.timing(load_engine(engine, 2).networks))
batches = decoder.batches(split.utterances, 50 * MEGABYTE)
evaluation = evaluate(decoder, clock, split.utterances, batches, split.sample_rate)
note("evaluation")
stored = sum(f.stat().st_size for f in folder.rglob("*.safetensors"))
print(json.dumps({"peaks": peaks, "stored": stored, "hours": evaluation.audio_seconds / 3600}))
"""


def measure(folder: Path, checkpoint: Path, engine: Path, hours: float) -> dict:
    """Peak memory by step of the calibration's and the evaluation's work on ``hours`` of audio."""
    folder.mkdir()
    (file,) = write_speech(folder / "speech", folder / "manifest.tsv", 1)
    front_end = family_of(checkpoint).front_end(checkpoint)
    (first,), _ = list_utterances(read_manifest(folder / "manifest.tsv"), front_end)
    count = round(hours * 3600 * 16_000 / first.samples)
    listed = [first]
    for number in range(1, count):
        path = folder / f"{number}.flac"
        path.hardlink_to(file)
        listed.append(Utterance(path.stem, str(path), first.samples, first.transcript, first.sha256))
    write_table(folder / "utterances.tsv", table_of(listed, Utterance))
    done = subprocess.run(
        [sys.executable, "-c", JOB, str(checkpoint), str(engine), str(folder), str(LIMIT)],
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
    tiny = Loaded.load(tmp_path / "checkpoint")
    fp32 = export(tiny, tmp_path / "fp32.onnx")
    engine = build(tiny, fp32, tmp_path / "engine", float_layers={m.layer for m in tiny.modules})
    short = measure(tmp_path / "short", tiny.folder, engine, SHORT)
    long = measure(tmp_path / "long", tiny.folder, engine, HOURS)
    print(short, long)
    assert long["hours"] == pytest.approx(HOURS, rel=0.01)
    assert long["stored"] > 5 * short["stored"]
    for step, peak in long["peaks"].items():
        grown = peak - short["peaks"][step]
        assert grown < 0.25 * short["peaks"][step], f"{step}: {grown / 1e6:.0f} MB more"  # ten times the audio
        assert grown < 0.1 * (long["stored"] - short["stored"]), step
