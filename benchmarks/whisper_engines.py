"""The engines that `whisper.py` compares: how each is made of a Whisper, and how it recognises one recording."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from whisper_ggml import write_ggml

from stablequant.corpora.utterance import Utterance, load_audio
from stablequant.engines import openvino, running
from stablequant.recognisers.family import Network, Signature
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.whisper.front_end import FrontEnd, read_front_end
from stablequant.recognisers.whisper.greedy import DECODER, ENCODER, WITH_PAST, signatures
from stablequant.recognisers.whisper.layers import read_sizes
from stablequant.recognisers.whisper.published import write_openvino_tokenizer
from stablequant.storage.files import graph_files, read_json

BIN = Path(sys.executable).parent
ALPHA = 0.95  # of SmoothQuant, as optimum-intel sets it for Whisper
CALIBRATION = 100  # utterances that calibrate the peers
STEPS = 5  # of each one's text that calibrate the graph of further steps


class Heard(NamedTuple):
    """What an engine recognised in one recording, and the seconds it took; NaN where an engine does not tell them."""

    text: str
    seconds: float
    encoder_seconds: float
    decoder_seconds: float
    tokens: float


class Engine(Protocol):
    """An engine in the process that runs it."""

    def recognise(self, samples: np.ndarray) -> Heard:
        """Greedy decoding in English without timestamps."""

    def logits(self, samples: np.ndarray, tokens: list[int]) -> np.ndarray | None:
        """What follows each of ``tokens`` but the last, ``(tokens, classes)``, None if the engine does not tell."""


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


# Making


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
    """Inputs of the graph ``name`` of calibration utterances, with the tokens that fp32 wrote in the workflow.

    The decoder's first graph gets all of them at once, that of further steps `STEPS` tokens of each text. They are
    computed anew for each reader, since those of further steps are large.
    """

    subject: Subject
    name: str

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        subject, name = self.subject, self.name
        rows = read_json(subject.results / "reference.json")["utterances"]
        guides = {row["path"]: row["guide"] for row in rows}
        files = {} if name == ENCODER else {part: subject.graphs[part] for part in (ENCODER, DECODER)}
        networks = openvino_networks(subject, files, subject.threads, "f32")
        prompt = list(subject.front_end.prompt)
        for utterance in subject.calibration[:CALIBRATION]:
            features = {"input_features": subject.features(utterance)}
            if name == ENCODER:
                yield features
                continue
            encoded = networks[ENCODER](features)["last_hidden_state"]
            tokens = guides[utterance.key]
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


def written(subject: Subject, decoder, encoded: np.ndarray) -> list[int]:
    """The tokens that ``decoder`` writes for the encoder's output."""
    front_end = subject.front_end
    texts, _ = decoder._decode(
        encoded, front_end.prompt, lambda tokens, scores: int(front_end.allowed(scores, first=not tokens).argmax())
    )
    return texts[0]


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


def onnxruntime_dynamic(subject: Subject, folder: Path) -> float:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    for name, graph in subject.graphs.items():
        quantize_dynamic(
            graph,
            folder / f"{name}.onnx",
            op_types_to_quantize=["MatMul", "Gemm"],  # the CPU has no kernel for ConvInteger with signed weights
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
    return 0


def onnxruntime_static(subject: Subject, folder: Path) -> float:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self, name: str) -> None:
            self._items = iter(CalibrationInputs(subject, name))

        def get_next(self) -> dict | None:
            return next(self._items, None)

    operations = ["Conv", "MatMul", "Gemm"]
    for name, graph in subject.graphs.items():
        quantize_static(
            graph,
            folder / f"{name}.onnx",
            Reader(name),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=operations,
            extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": operations},
        )
    return 1


# Running


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


class Graphs:
    """Three graphs with the project's own decoder."""

    def __init__(self, subject: Subject, networks: Mapping[str, Network]) -> None:
        self._subject, self._networks = subject, networks
        self._clocks = {name: running.Stopwatch() for name in networks}
        timed = {name: clock.timing(networks)[name] for name, clock in self._clocks.items()}
        self._decoder = family_of(subject.checkpoint).decoder(subject.checkpoint, timed)

    def recognise(self, samples: np.ndarray) -> Heard:
        before = {name: clock.seconds for name, clock in self._clocks.items()}
        front_end, start = self._subject.front_end, time.perf_counter()
        encoded = self._decoder._encode(front_end.features(samples)[None])
        tokens = written(self._subject, self._decoder, encoded)
        text = front_end.spell(front_end.text(tokens))
        taken = time.perf_counter() - start
        spent = {name: clock.seconds - before[name] for name, clock in self._clocks.items()}
        return Heard(text, taken, spent[ENCODER], spent[DECODER] + spent[WITH_PAST], len(tokens))

    def logits(self, samples: np.ndarray, tokens: list[int]) -> np.ndarray:
        front_end = self._subject.front_end
        encoded = self._networks[ENCODER]({"input_features": front_end.features(samples)[None]})["last_hidden_state"]
        given = np.array([list(front_end.prompt) + tokens[:-1]], dtype=np.int64)
        found = self._networks[DECODER]({"input_ids": given, "encoder_hidden_states": encoded})["logits"]
        return found[0, len(front_end.prompt) - 1 :]


class GenAi:
    """OpenVINO GenAI. Logits come from the same networks, which are loaded a second time for them."""

    def __init__(self, subject: Subject, folder: Path, floating: str, threads: int) -> None:
        import openvino_genai

        self._settings = {"INFERENCE_PRECISION_HINT": floating, "INFERENCE_NUM_THREADS": threads}
        self._subject, self._folder, self._loaded = subject, folder, None
        self._pipeline = openvino_genai.WhisperPipeline(str(folder), "CPU", **self._settings)

    def recognise(self, samples: np.ndarray) -> Heard:
        start = time.perf_counter()
        found = self._pipeline.generate(
            samples, language=f"<|{self._subject.front_end.language}|>", task="transcribe", return_timestamps=False
        )
        taken = time.perf_counter() - start
        metrics = found.perf_metrics
        raw = metrics.whisper_raw_metrics
        encoder, decoder = (
            sum(float(part) for part in durations) / 1e6  # microseconds
            for durations in (raw.encode_inference_durations, raw.decode_inference_durations)
        )
        text = self._subject.front_end.spell(found.texts[0])
        return Heard(text, taken, encoder, decoder, metrics.get_num_generated_tokens())

    def logits(self, samples: np.ndarray, tokens: list[int]) -> np.ndarray:
        import openvino as ov

        if self._loaded is None:
            self._loaded = [
                ov.compile_model(
                    ov.Core().read_model(self._folder / f"openvino_{part}_model.xml"), "CPU", self._settings
                ).create_infer_request()
                for part in ("encoder", "decoder")
            ]
        encoder, decoder = self._loaded
        front_end = self._subject.front_end
        encoded = encoder.infer({"input_features": front_end.features(samples)[None]})[0].copy()
        decoder.reset_state()
        given = np.array([list(front_end.prompt) + tokens[:-1]], dtype=np.int64)
        inputs = {"input_ids": given, "encoder_hidden_states": encoded, "beam_idx": np.zeros(1, dtype=np.int32)}
        known = {name for tensor in decoder.model_inputs for name in tensor.get_names()}
        if "cache_position" in known:
            inputs["cache_position"] = np.arange(given.shape[1], dtype=np.int64)
        found = decoder.infer({name: values for name, values in inputs.items() if name in known})[0]
        return np.array(found)[0, len(front_end.prompt) - 1 :]


class FasterWhisper:
    def __init__(self, subject: Subject, folder: Path, kind: str, threads: int) -> None:
        from faster_whisper import WhisperModel

        self._subject = subject
        self._model = WhisperModel(str(folder), device="cpu", compute_type=kind, cpu_threads=threads)
        self._spent = dict.fromkeys(("encode", "generate_with_fallback"), 0.0)
        for name in self._spent:
            setattr(self._model, name, self._timed(name, getattr(self._model, name)))

    def _timed(self, name: str, call: Callable) -> Callable:
        def timed(*arguments: object, **settings: object) -> object:
            start = time.perf_counter()
            found = call(*arguments, **settings)
            self._spent[name] += time.perf_counter() - start
            return found

        return timed

    def recognise(self, samples: np.ndarray) -> Heard:
        before, start = dict(self._spent), time.perf_counter()
        segments, _ = self._model.transcribe(
            samples,
            language=self._subject.front_end.language,
            beam_size=1,
            temperature=0.0,
            without_timestamps=True,
            condition_on_previous_text=False,
            no_speech_threshold=None,
            log_prob_threshold=None,
            compression_ratio_threshold=None,
        )
        found = list(segments)
        taken = time.perf_counter() - start
        text = self._subject.front_end.spell("".join(segment.text for segment in found))
        encoder, decoder = (self._spent[name] - before[name] for name in self._spent)
        return Heard(text, taken, encoder, decoder, sum(len(segment.tokens) for segment in found))

    def logits(self, samples: np.ndarray, tokens: list[int]) -> None:
        """None: CTranslate2 gives no logits along given tokens."""


class WhisperCpp:
    def __init__(self, subject: Subject, folder: Path, threads: int) -> None:
        from pywhispercpp.model import Model

        self._subject = subject
        self._model = Model(
            str(folder / "model.bin"),
            n_threads=threads,
            language=subject.front_end.language,
            no_timestamps=True,
            single_segment=True,
            temperature_inc=0.0,
            print_progress=False,
            print_realtime=False,
            redirect_whispercpp_logs_to=None,
        )

    def recognise(self, samples: np.ndarray) -> Heard:
        start = time.perf_counter()
        found = self._model.transcribe(samples)
        taken = time.perf_counter() - start
        text = self._subject.front_end.spell(" ".join(segment.text for segment in found))
        return Heard(text, taken, np.nan, np.nan, np.nan)

    def logits(self, samples: np.ndarray, tokens: list[int]) -> None:
        """None: it gives no logits along given tokens."""


def load_own(subject: Subject, folder: Path, threads: int) -> Engine:
    """An engine of the workflow's, as the project runs it."""
    return Graphs(subject, running.load_engine(folder, threads).networks)


def load_nncf(subject: Subject, folder: Path, threads: int) -> Engine:
    floating = "bf16" if openvino.has_bfloat16() else "f32"
    return Graphs(
        subject, openvino_networks(subject, {n: folder / f"{n}.xml" for n in subject.graphs}, threads, floating)
    )


def load_onnxruntime(subject: Subject, folder: Path, threads: int) -> Engine:
    return Graphs(subject, onnxruntime_networks(subject, folder, threads))


def load_genai(floating: str, subject: Subject, folder: Path, threads: int) -> Engine:
    return GenAi(subject, folder, floating, threads)


def load_faster_whisper(kind: str, subject: Subject, folder: Path, threads: int) -> Engine:
    return FasterWhisper(subject, folder, kind, threads)


def load_whisper_cpp(subject: Subject, folder: Path, threads: int) -> Engine:
    return WhisperCpp(subject, folder, threads)


def own_bundle(subject: Subject, folder: Path) -> float:
    """The workflow's bundle, where it has what OpenVINO GenAI loads."""
    bundle = subject.results / "bundle"
    if not list(bundle.rglob("openvino_decoder_model.xml")):
        raise RuntimeError("the bundle has no openvino_decoder_model.xml")
    shutil.copytree(bundle, folder, dirs_exist_ok=True)
    if not (folder / "openvino_tokenizer.xml").exists():  # the workflow's environment may lack the package for it
        write_openvino_tokenizer(subject.checkpoint / "tokenizer.json", folder)
    return 0


class Kind(NamedTuple):
    """How an engine is made and loaded.

    Attributes
    ----------
    make: writes it into a folder and returns passes over the calibration set; None if the workflow makes it
    load: loads it in the process that runs it
    base: the engine and method whose words it is compared with: the same engine in floating point
    package: what must be installed
    """

    make: Callable[[Subject, Path], float] | None
    load: Callable[[Subject, Path, int], Engine]
    base: tuple[str, str] = ("openvino", "fp32")
    package: str = "openvino"


THREE = ("model.encoder.layers.3.fc2", "model.decoder.layers.2.fc2", "proj_out")  # of base: massive activations
GENAI, FASTER = ("openvino-genai", "f32"), ("faster-whisper", "float32")
KINDS: dict[tuple[str, str], Kind] = {
    **{("openvino", method): Kind(None, load_own) for method in ("fp32", "max", "stablequant")},
    ("openvino-genai", "stablequant"): Kind(own_bundle, partial(load_genai, "bf16"), GENAI, "openvino_genai"),
    GENAI: Kind(partial(export_with_optimum, "fp32"), partial(load_genai, "f32"), GENAI, "openvino_genai"),
    ("openvino-genai", "bf16"): Kind(
        partial(export_with_optimum, "fp32"), partial(load_genai, "bf16"), GENAI, "openvino_genai"
    ),
    ("openvino-genai", "int8-weights"): Kind(
        partial(export_with_optimum, "int8"), partial(load_genai, "bf16"), GENAI, "openvino_genai"
    ),
    FASTER: Kind(
        partial(convert_for_ctranslate2, "float32"), partial(load_faster_whisper, "float32"), FASTER, "faster_whisper"
    ),
    ("faster-whisper", "int8"): Kind(
        partial(convert_for_ctranslate2, "int8"), partial(load_faster_whisper, "int8"), FASTER, "faster_whisper"
    ),
    ("openvino", "nncf-smoothquant"): Kind(partial(nncf_static, ()), load_nncf, package="nncf"),
    ("openvino", "nncf-smoothquant-3-in-float"): Kind(partial(nncf_static, THREE), load_nncf, package="nncf"),
    ("onnxruntime", "dynamic"): Kind(onnxruntime_dynamic, load_onnxruntime, package="onnxruntime.quantization"),
    ("onnxruntime", "static"): Kind(onnxruntime_static, load_onnxruntime, package="onnxruntime.quantization"),
    ("whisper.cpp", "q8_0"): Kind(convert_for_whisper_cpp, load_whisper_cpp, package="pywhispercpp"),
}
