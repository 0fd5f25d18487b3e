"""A bundle of a tiny random Whisper opens as it is in OpenVINO GenAI and in optimum, and writes the same text.

These packages need other versions than the project's, so the bundle is made by the project's own interpreter.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino_genai
import pytest
from optimum.intel import OVModelForSpeechSeq2Seq
from optimum.onnxruntime import ORTModelForSpeechSeq2Seq
from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor

PROJECT = Path(__file__).parents[2]
RATE = 16_000
EXACTLY = {"INFERENCE_PRECISION_HINT": "f32"}

pytestmark = pytest.mark.interop


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


def test_openvino_genai_writes_the_same(made, audio, expected):
    pipeline = openvino_genai.WhisperPipeline(str(made / "bundle"), "CPU", **EXACTLY)
    found = [
        pipeline.generate(samples.tolist(), language="<|en|>", task="transcribe", max_new_tokens=19).texts[0]
        for samples in audio
    ]
    assert [text.strip() for text in found] == expected


@pytest.mark.parametrize(
    ("kind", "settings"), [(OVModelForSpeechSeq2Seq, {"ov_config": EXACTLY}), (ORTModelForSpeechSeq2Seq, {})]
)
def test_optimum_writes_the_same(made, audio, expected, kind, settings):
    model = kind.from_pretrained(made / "bundle", **settings)
    extractor = WhisperFeatureExtractor.from_pretrained(made / "bundle")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(made / "bundle/tokenizer.json"))
    found = []
    for samples in audio:
        features = extractor(samples, sampling_rate=RATE, return_tensors="pt").input_features
        tokens = model.generate(features, language="en", task="transcribe", max_new_tokens=19)[0]
        found.append(tokenizer.decode(tokens, skip_special_tokens=True).strip())
    assert found == expected


def test_the_interpreter_is_that_of_the_environment_for_these_packages():
    assert Path(sys.prefix) != PROJECT / ".venv"
