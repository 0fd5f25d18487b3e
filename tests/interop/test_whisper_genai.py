"""A bundle of a tiny random Whisper opens as it is in OpenVINO GenAI and in optimum, and writes the same text.

These packages need other versions than the project's, so the bundle is made by the project's own interpreter.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor

PROJECT = Path(__file__).parents[2]
sys.path.insert(0, str(PROJECT))

from stablequant.recognisers.registry import family_of  # noqa: E402

openvino_genai = pytest.importorskip("openvino_genai")
optimum_intel, optimum_onnxruntime = (pytest.importorskip(f"optimum.{name}") for name in ("intel", "onnxruntime"))

RATE = 16_000
EXACTLY = {"INFERENCE_PRECISION_HINT": "f32"}
TOKENS = 20  # of a text at most: 24 positions less the four of the prompt


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """``bundle``, ``audio.npy`` and ``texts.json``: what the bundle's own engine writes."""
    folder = tmp_path_factory.mktemp("whisper")
    command = [PROJECT / ".venv/bin/python", PROJECT / "tests/interop/write_whisper_bundle.py", folder]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture(scope="module")
def expected(made) -> list[str]:
    texts = json.loads((made / "texts.json").read_text())
    assert len(set(texts)) > 2
    return texts


@pytest.fixture(scope="module")
def audio(made) -> np.ndarray:
    return np.load(made / "audio.npy")


def spelled(made: Path, texts: list[str]) -> list[str]:
    """The texts as the bundle's own engine spells them."""
    front_end = family_of(made / "bundle").front_end(made / "bundle")
    return [front_end.spell(text) for text in texts]


def test_openvino_genai_writes_the_same(made, audio, expected):
    pipeline = openvino_genai.WhisperPipeline(str(made / "bundle"), "CPU", **EXACTLY)
    found = [
        pipeline.generate(samples.tolist(), language="<|en|>", task="transcribe", max_new_tokens=TOKENS).texts[0]
        for samples in audio
    ]
    assert spelled(made, found) == expected


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (optimum_intel.OVModelForSpeechSeq2Seq, {"ov_config": EXACTLY}),
        (optimum_onnxruntime.ORTModelForSpeechSeq2Seq, {}),
    ],
)
def test_optimum_writes_the_same(made, audio, expected, kind, settings):
    model = kind.from_pretrained(made / "bundle", **settings)
    extractor = WhisperFeatureExtractor.from_pretrained(made / "bundle")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(made / "bundle/tokenizer.json"))
    found = []
    for samples in audio:
        features = extractor(samples, sampling_rate=RATE, return_tensors="pt").input_features
        tokens = model.generate(features, language="en", task="transcribe", max_new_tokens=TOKENS)[0]
        found.append(tokenizer.decode(tokens, skip_special_tokens=True))
    assert spelled(made, found) == expected


def test_weights_are_in_the_bundle_once(made):
    """The decoder's first and further steps share their weights, and so do the embedding and the head."""
    networks = [made / f"bundle/openvino_{part}_model.bin" for part in ("encoder", "decoder")]
    fp32 = (made / "checkpoint/model.safetensors").stat().st_size
    assert sum(network.stat().st_size for network in networks) < 0.5 * fp32, "tiny layers have much beside weights"
    assert not list((made / "bundle/engines").rglob("*.bin"))
