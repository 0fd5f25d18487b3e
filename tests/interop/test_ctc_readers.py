"""Other libraries open a bundle of the demo as it is, and recognise the same words as StableQuant (make test-interop).

A library that computes with OpenVINO is compared with our OpenVINO engine, one with ONNX Runtime with our ONNX Runtime
engine.
"""

import subprocess
import sys
from pathlib import Path

import jiwer
import numpy as np
import onnxruntime
import onnxruntime_ep_openvino
import pytest
import sherpa_onnx
from optimum.onnxruntime import ORTModelForCTC
from transformers import AutoProcessor, pipeline

NODE = Path(sys.prefix, "node")
RATE = 16_000
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_LAYOUT", "ORT_ENABLE_ALL")


@pytest.fixture(scope="module")
def processor(bundle):
    return AutoProcessor.from_pretrained(bundle)


def decoded(processor, logits: np.ndarray) -> list[str]:
    return processor.batch_decode(logits.argmax(axis=-1))[0].split()


def different(found: dict[str, list[str]], expected: dict[str, list[str]]) -> dict[str, tuple[list[str], list[str]]]:
    assert list(found) == list(expected)
    return {path: (words, expected[path]) for path, words in found.items() if words != expected[path]}


def check_nearly_equal(found: dict[str, list[str]], expected: dict[str, list[str]], transcripts: list[str]) -> None:
    """A program that rounds otherwise may write a few words otherwise, but not worse."""
    assert len(different(found, expected)) <= 5
    ours, theirs = ([" ".join(words) for words in read.values()] for read in (expected, found))
    assert jiwer.cer(ours, theirs) < 0.005
    assert abs(jiwer.wer(transcripts, theirs) - jiwer.wer(transcripts, ours)) < 0.005


@pytest.fixture(scope="module")
def files(recordings, tmp_path_factory) -> dict[str, Path]:
    """Files with the samples of the recordings, by the recordings' file names."""
    folder, found = tmp_path_factory.mktemp("samples"), {}
    for number, (path, samples) in enumerate(recordings.items()):
        found[path] = folder / f"{number}.f32"
        found[path].write_bytes(samples.astype("<f4").tobytes())
    return found


def in_another_process(command: list[str], files: dict[str, Path]) -> dict[str, list[str]]:
    """What a program writes for ``files``, which it gets as arguments, a line for each."""
    command = [*command, *map(str, files.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {path: line.split() for path, line in zip(files, done.stdout.splitlines(), strict=True)}


@pytest.mark.parametrize(("program", "first"), [("optimum", 0), ("openvino", 0), ("openvino", 400), ("openvino", 719)])
def test_openvino_also_after_a_first_recording_of_a_single_frame(bundle, files, by_openvino, program, first):
    command = [sys.executable, str(Path(__file__).with_name("read_with_openvino.py")), program, str(bundle), str(first)]
    assert not different(in_another_process(command, files), by_openvino)


def test_a_pipeline_over_optimum_onnx_with_times_of_words(bundle, processor, recordings, by_onnxruntime):
    parts = {"tokenizer": processor.tokenizer, "feature_extractor": processor.feature_extractor}
    model = ORTModelForCTC.from_pretrained(bundle)
    model.main_input_name = "input_values"  # as the card says: the pipeline asks for it, and optimum's models lack it
    recogniser = pipeline("automatic-speech-recognition", model=model, **parts)
    found = {}
    for path, samples in recordings.items():
        answer = recogniser({"raw": samples, "sampling_rate": RATE}, return_timestamps="word")
        found[path] = answer["text"].split()
        assert [chunk["text"] for chunk in answer["chunks"]] == found[path]
        times = [time for chunk in answer["chunks"] for time in chunk["timestamp"]]
        assert times == sorted(times)
        assert 0 <= times[0] < times[-1] <= len(samples) / RATE
    assert not different(found, by_onnxruntime)


def test_benchmark_app(bundle):
    tool = [sys.executable, "-c", "from openvino.tools.benchmark.main import main; main()"]
    command = [*tool, "-m", str(bundle / "openvino_model.xml"), "-shape", "[1,16000]", "-data_shape", "[1,16000]"]
    done = subprocess.run([*command, "-t", "1", "-d", "CPU"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Throughput:" in done.stdout


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("precise", ["0", "1"])
def test_plain_onnx_runtime(bundle, processor, recordings, transcripts, by_onnxruntime, level, precise):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.add_session_config_entry("session.x64quantprecision", precise)
    session = onnxruntime.InferenceSession(bundle / "onnx/model_quantized.onnx", options)
    found = {}
    for path, samples in recordings.items():
        values = processor(samples, sampling_rate=RATE, return_tensors="np").input_values
        found[path] = decoded(processor, session.run(None, {"input_values": values})[0])
    if level == "ORT_ENABLE_ALL":
        assert not different(found, by_onnxruntime)
    else:  # without fusion sums are rounded otherwise
        check_nearly_equal(found, by_onnxruntime, transcripts)


def test_the_execution_provider_of_openvino(bundle, processor, recordings, transcripts, by_openvino):
    """It reads the ONNX graph, in which the first convolution is none of our products, and rounds otherwise."""
    name = onnxruntime_ep_openvino.get_ep_name()
    onnxruntime.register_execution_provider_library(name, onnxruntime_ep_openvino.get_library_path())
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
    options = onnxruntime.SessionOptions()
    options.add_provider_for_devices(devices[:1], {})
    session = onnxruntime.InferenceSession(bundle / "onnx/model_quantized.onnx", options)
    assert name in session.get_providers()
    session.run(None, {"input_values": np.zeros((1, 400), dtype=np.float32)})
    found = {}
    for path, samples in recordings.items():
        values = processor(samples, sampling_rate=RATE, return_tensors="np").input_values
        found[path] = decoded(processor, session.run(None, {"input_values": values})[0])
    check_nearly_equal(found, by_openvino, transcripts)


def test_sherpa_onnx(bundle, recordings, transcripts, by_onnxruntime):
    """It adds 1e-5 to the variance where we add 1e-7, and has an older ONNX Runtime, which rounds otherwise."""
    recogniser = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc(
        str(bundle / "onnx/model_quantized.onnx"), str(bundle / "tokens.txt")
    )
    found = {}
    for path, samples in recordings.items():
        stream = recogniser.create_stream()
        stream.accept_waveform(RATE, samples)
        recogniser.decode_stream(stream)
        found[path] = stream.result.text.split()
    check_nearly_equal(found, by_onnxruntime, transcripts)


def test_transformers_js(bundle, files, by_onnxruntime):
    command = [
        "node",
        str(Path(__file__).with_name("transcribe.mjs")),
        str(NODE / "node_modules"),
        str(bundle.resolve()),
    ]
    assert not different(in_another_process(command, files), by_onnxruntime)
