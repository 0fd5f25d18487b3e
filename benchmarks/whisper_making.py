"""How the engines that `whisper.py` compares are made of a Whisper.

Each function writes an engine into a folder and returns its passes over the calibration set.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from by_onnxruntime import Reader, quantize_graph, quantize_graph_dynamically
from whisper_ggml import write_ggml
from whisper_networks import Subject, openvino_networks, written

from stablequant.recognisers.registry import family_of
from stablequant.recognisers.whisper.greedy import DECODER, ENCODER, WITH_PAST
from stablequant.recognisers.whisper.published import write_openvino_tokenizer
from stablequant.storage.files import read_json

BIN = Path(sys.executable).parent
ALPHA = 0.95  # of SmoothQuant, as optimum-intel sets it for Whisper
CALIBRATION = 100  # utterances that calibrate the peers
STEPS = 5  # of each one's text that calibrate the graph of further steps


def export_with_optimum(weights: str, subject: Subject, folder: Path) -> float:
    """optimum-intel's stateful model for OpenVINO GenAI."""
    task = ["--task", "automatic-speech-recognition-with-past", "--library", "transformers"]
    _run([BIN / "optimum-cli", "export", "openvino", "-m", subject.source, *task, "--weight-format", weights, folder])
    return 0


def convert_for_ctranslate2(kind: str, subject: Subject, folder: Path) -> float:
    copied = ["--copy_files", "tokenizer.json", "preprocessor_config.json", "--force"]
    command = [BIN / "ct2-transformers-converter", "--model", subject.source, "--output_dir", folder, *copied]
    _run([*command, "--quantization", kind])
    return 0


def convert_for_whisper_cpp(subject: Subject, folder: Path) -> float:
    write_ggml(subject.checkpoint, folder / "model.bin")
    return 0


def _run(command: list) -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}")


@dataclass(frozen=True)
class CalibrationInputs:
    """Inputs of the graph ``name`` of calibration utterances, with the tokens that fp32 writes.

    The decoder's first graph gets all of them at once, that of further steps `STEPS` tokens of each text. Each reader
    computes them anew but for the encoder's outputs, since those of further steps are large.
    """

    subject: Subject
    name: str

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        subject, name = self.subject, self.name
        utterances = subject.calibration[:CALIBRATION]
        if name == ENCODER:
            yield from ({"input_features": subject.features(utterance)} for utterance in utterances)
            return
        rows = read_json(subject.results / "reference.json")["utterances"]
        guides = {row["path"]: row["guide"] for row in rows}
        networks = openvino_networks(subject, subject.graphs, subject.threads, "f32")
        decoder = family_of(subject.checkpoint).decoder(subject.checkpoint, networks)
        prompt = list(subject.front_end.prompt)
        for utterance in utterances:
            if utterance.key not in subject.encoded:
                found = networks[ENCODER]({"input_features": subject.features(utterance)})
                subject.encoded[utterance.key] = found["last_hidden_state"]
            encoded = subject.encoded[utterance.key]
            tokens = guides.get(utterance.key) or written(subject, decoder, encoded)  # ours may need but a part
            whole = {
                "input_ids": np.array([prompt + tokens[:-1]], dtype=np.int64),
                "encoder_hidden_states": encoded,
            }
            if name == DECODER:
                yield whole
                continue
            present = networks[DECODER](whole)
            present.pop("logits")
            for place in sorted(set(np.linspace(0, len(tokens) - 1, STEPS).astype(int).tolist())):
                known = {
                    key.replace("present", "past_key_values", 1): values[:, :, : len(prompt) + place]
                    if ".decoder." in key
                    else values
                    for key, values in present.items()
                }
                yield {"input_ids": np.array([[tokens[place]]], dtype=np.int64), **known}


def nncf_static(in_float: tuple[str, ...], subject: Subject, folder: Path) -> float:
    """NNCF's static quantization of the three graphs, ``in_float`` modules left out."""
    import nncf
    import openvino as ov
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, AdvancedSmoothQuantParameters

    advanced = AdvancedQuantizationParameters(
        smooth_quant_alphas=AdvancedSmoothQuantParameters(convolution=-1, matmul=ALPHA)
    )
    for name, graph in subject.graphs.items():
        model = ov.Core().read_model(graph)
        products = [node for node in model.get_ops() if node.get_type_name() in ("MatMul", "Convolution")]
        for node in products:
            if node.get_friendly_name() == "logits":  # OpenVINO names what gives an output after the output
                node.set_friendly_name("proj_out")
        names = [node.get_friendly_name() for node in products]
        ignored = [node for node in names if node.split("/")[0] in in_float]
        names = [next(iter(tensor.get_names() & subject.signatures[name].inputs.keys())) for tensor in model.inputs]
        dataset = nncf.Dataset(CalibrationInputs(subject, name), lambda item, names=names: [item[key] for key in names])
        quantized = nncf.quantize(
            model,
            dataset,
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=CALIBRATION * (STEPS if name == WITH_PAST else 1),
            ignored_scope=nncf.IgnoredScope(names=ignored) if ignored else None,
            advanced_parameters=advanced,
        )
        ov.save_model(quantized, folder / f"{name}.xml", compress_to_fp16=False)
    return 1


def onnxruntime_dynamic(everything: bool, subject: Subject, folder: Path) -> float:
    """ONNX Runtime's dynamic quantization, see by_onnxruntime.py."""
    for name, graph in subject.graphs.items():
        quantize_graph_dynamically(graph, folder / f"{name}.onnx", everything)
    return 0


def onnxruntime_static(convolutions: bool, subject: Subject, folder: Path) -> float:
    """ONNX Runtime's static quantization, see by_onnxruntime.py."""
    for name, graph in subject.graphs.items():
        reader = Reader(iter(CalibrationInputs(subject, name)))
        quantize_graph(graph, folder / f"{name}.onnx", reader, convolutions)
    return 1


def own_bundle(subject: Subject, folder: Path) -> float:
    """The workflow's bundle, where it has what OpenVINO GenAI loads."""
    bundle = subject.results / "bundle"
    if not list(bundle.rglob("openvino_decoder_model.xml")):
        raise RuntimeError("the bundle has no openvino_decoder_model.xml")
    shutil.copytree(bundle, folder, dirs_exist_ok=True)
    if not (folder / "openvino_tokenizer.xml").exists():  # the workflow's environment may lack the package for it
        write_openvino_tokenizer(subject.checkpoint / "tokenizer.json", folder)
    return 0
