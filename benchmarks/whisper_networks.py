"""A Whisper of the workflow, and the networks of its graphs in OpenVINO and ONNX Runtime."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from stablequant.corpora.utterance import Utterance, load_audio
from stablequant.recognisers.family import Network, Signature
from stablequant.recognisers.whisper.front_end import FrontEnd, read_front_end
from stablequant.recognisers.whisper.greedy import signatures
from stablequant.recognisers.whisper.layers import read_sizes
from stablequant.storage.files import graph_files


@dataclass(frozen=True)
class Subject:
    """A Whisper, and what engines are made of.

    Attributes
    ----------
    source: its folder in Hugging Face's layout
    results: the workflow's folder for it
    """

    source: Path
    results: Path
    calibration: list[Utterance]
    evaluation: list[Utterance]
    threads: int

    @cached_property
    def encoded(self) -> dict[str, np.ndarray]:
        """fp32's outputs of the encoder by key of the utterance, as far as they were computed: 3 MB each."""
        return {}

    @property
    def checkpoint(self) -> Path:
        return self.results / "checkpoint"

    @cached_property
    def front_end(self) -> FrontEnd:
        return read_front_end(self.checkpoint)

    @property
    def signatures(self) -> dict[str, Signature]:
        return signatures(read_sizes(self.checkpoint))

    @property
    def graphs(self) -> dict[str, Path]:
        """ONNX files of fp32 by graph name."""
        return dict(graph_files(self.results / "onnx/fp32.onnx", list(self.signatures)))

    def audio(self, utterance: Utterance) -> np.ndarray:
        return load_audio(utterance, self.front_end.sample_rate)

    def features(self, utterance: Utterance) -> np.ndarray:
        return self.front_end.features(self.audio(utterance))[None]


def openvino_networks(subject: Subject, files: Mapping[str, Path], threads: int, floating: str) -> dict[str, Network]:
    """Networks by graph name from OpenVINO's or ONNX files."""
    import openvino as ov

    settings = {"INFERENCE_PRECISION_HINT": floating, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}

    def load(name: str, file: Path) -> Network:
        compiled = ov.compile_model(ov.Core().read_model(file), "CPU", settings)
        request, signature = compiled.create_infer_request(), subject.signatures[name]
        inputs = [next(iter(t.get_names() & signature.inputs.keys())) for t in compiled.inputs]
        outputs = [next(iter(t.get_names() & signature.outputs.keys())) for t in compiled.outputs]

        def network(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            found = request.infer([tensors[key] for key in inputs], share_inputs=False, share_outputs=False)
            return {key: found[place] for place, key in enumerate(outputs)}

        return network

    return {name: load(name, file) for name, file in files.items()}


def onnxruntime_networks(subject: Subject, folder: Path, threads: int) -> dict[str, Network]:
    import onnxruntime as ort

    def load(name: str) -> Network:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        session = ort.InferenceSession(folder / f"{name}.onnx", options)
        outputs = [tensor.name for tensor in session.get_outputs()]
        return lambda tensors: dict(zip(outputs, session.run(outputs, dict(tensors)), strict=True))

    return {name: load(name) for name in subject.graphs}


def written(subject: Subject, decoder, encoded: np.ndarray) -> list[int]:
    """The tokens that ``decoder`` writes for the encoder's output."""
    front_end = subject.front_end
    texts, _ = decoder._decode(
        encoded, front_end.prompt, lambda tokens, scores: int(front_end.allowed(scores, first=not tokens).argmax())
    )
    return texts[0]
