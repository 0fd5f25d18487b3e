"""The engines that `whisper.py` compares, and how each recognises one recording; whisper_making.py makes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from whisper_making import (
    convert_for_ctranslate2,
    convert_for_whisper_cpp,
    export_with_optimum,
    nncf_static,
    onnxruntime_dynamic,
    onnxruntime_static,
    own_bundle,
)
from whisper_networks import Subject, onnxruntime_networks, openvino_networks, written

from stablequant.engines import openvino, running
from stablequant.recognisers.family import Network
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.whisper.greedy import DECODER, ENCODER, WITH_PAST


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


class Graphs:
    """Three graphs with the project's own decoder."""

    def __init__(self, subject: Subject, networks: Mapping[str, Network]) -> None:
        self._subject, self._networks = subject, networks
        self._clocks = {name: running.Stopwatch() for name in networks}
        timed = {name: clock.timing(networks)[name] for name, clock in self._clocks.items()}
        self._decoder = family_of(subject.checkpoint).decoder(subject.checkpoint, timed)
        self._samples, self._encoded = np.empty(0), np.empty(0)  # of the recording heard last

    def encoded(self, samples: np.ndarray) -> np.ndarray:
        """The encoder's states of a recording, kept until the next one comes."""
        if samples is not self._samples:
            self._encoded = self._decoder._encode(self._subject.front_end.features(samples)[None])
            self._samples = samples
        return self._encoded

    def recognise(self, samples: np.ndarray) -> Heard:
        before = {name: clock.seconds for name, clock in self._clocks.items()}
        front_end, start = self._subject.front_end, time.perf_counter()
        encoded = self.encoded(samples)
        tokens = written(self._subject, self._decoder, encoded)
        text = front_end.spell(front_end.text(tokens))
        taken = time.perf_counter() - start
        spent = {name: clock.seconds - before[name] for name, clock in self._clocks.items()}
        return Heard(text, taken, spent[ENCODER], spent[DECODER] + spent[WITH_PAST], len(tokens))

    def logits(self, samples: np.ndarray, tokens: list[int]) -> np.ndarray:
        front_end = self._subject.front_end
        given = np.array([list(front_end.prompt) + tokens[:-1]], dtype=np.int64)
        inputs = {"input_ids": given, "encoder_hidden_states": self.encoded(samples)}
        found = self._networks[DECODER](inputs)["logits"]
        return found[0, len(front_end.prompt) - 1 :]


class GenAi:
    """OpenVINO GenAI. Logits come from the same networks, which are loaded a second time for them."""

    def __init__(self, subject: Subject, folder: Path, floating: str, threads: int, group: int | None) -> None:
        import openvino_genai

        self._settings = {"INFERENCE_PRECISION_HINT": floating, "INFERENCE_NUM_THREADS": threads}
        if group:
            self._settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = group
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


def load_genai(floating: str, subject: Subject, folder: Path, threads: int, group: int | None = None) -> Engine:
    return GenAi(subject, folder, floating, threads, group)


def load_faster_whisper(kind: str, subject: Subject, folder: Path, threads: int) -> Engine:
    return FasterWhisper(subject, folder, kind, threads)


def load_whisper_cpp(subject: Subject, folder: Path, threads: int) -> Engine:
    return WhisperCpp(subject, folder, threads)


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
    ("openvino-genai", "int8-weights-128"): Kind(  # OpenVINO quantizes what is multiplied, in groups of 128 values
        partial(export_with_optimum, "int8"), partial(load_genai, "bf16", group=128), GENAI, "openvino_genai"
    ),
    FASTER: Kind(
        partial(convert_for_ctranslate2, "float32"), partial(load_faster_whisper, "float32"), FASTER, "faster_whisper"
    ),
    ("faster-whisper", "int8"): Kind(
        partial(convert_for_ctranslate2, "int8"), partial(load_faster_whisper, "int8"), FASTER, "faster_whisper"
    ),
    ("openvino", "nncf-smoothquant"): Kind(partial(nncf_static, ()), load_nncf, package="nncf"),
    ("openvino", "nncf-smoothquant-3-in-float"): Kind(partial(nncf_static, THREE), load_nncf, package="nncf"),
    **{
        ("onnxruntime", method): Kind(make, load_onnxruntime, package="onnxruntime.quantization")
        for method, make in (
            ("dynamic", partial(onnxruntime_dynamic, True)),
            ("dynamic-matmul", partial(onnxruntime_dynamic, False)),
            ("static", partial(onnxruntime_static, True)),
            ("static-matmul", partial(onnxruntime_static, False)),
        )
    },
    ("whisper.cpp", "q8_0"): Kind(convert_for_whisper_cpp, load_whisper_cpp, package="pywhispercpp"),
}
