"""Write a bundle of a tiny random Whisper in INT8, recordings, and what its OpenVINO engine writes, into a folder."""

import json
import sys
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

from whisper_files import SECONDS, write_tiny_whisper  # noqa: E402

from stablequant.bundle.read_bundle import read_bundle  # noqa: E402
from stablequant.bundle.write_bundle import write_bundle  # noqa: E402
from stablequant.engines.build_engine import Order, build_engine  # noqa: E402
from stablequant.engines.insert_qdq import insert_qdq  # noqa: E402
from stablequant.engines.running import load_engine  # noqa: E402
from stablequant.quantization.int8 import Range  # noqa: E402
from stablequant.recognisers.decoder import Decoder  # noqa: E402
from stablequant.recognisers.export_onnx import export_onnx  # noqa: E402
from stablequant.recognisers.import_checkpoint import import_checkpoint  # noqa: E402
from stablequant.recognisers.load_recogniser import load_recogniser  # noqa: E402
from stablequant.recognisers.operations import operation_of  # noqa: E402
from stablequant.recognisers.registry import family_of  # noqa: E402
from stablequant.storage.files import graph_files  # noqa: E402

RATE = 16_000
NOISE = 1e-4  # more than the features of two programs differ by


def recordings(count: int) -> np.ndarray:
    """Tones in noise of a whole window each, float32 ``(count, samples)``."""
    draw = np.random.default_rng(0)
    time = np.arange(SECONDS * RATE) / RATE
    pitches, sways = draw.uniform(100, 3000, (count, 1)), draw.uniform(1, 9, (count, 1))
    tones = np.sin(2 * np.pi * pitches * time) * np.sin(2 * np.pi * sways * time)
    noise = draw.normal(size=tones.shape) * draw.uniform(0.001, 0.1, (count, 1))
    return (0.3 * tones + noise).astype(np.float32)


def maxima(checkpoint: Path, audio: np.ndarray) -> dict[str, Range]:
    """The range of each activation over ``audio``."""
    recogniser = load_recogniser(checkpoint)
    found: dict[str, float] = {}
    for module in recogniser.modules:

        def note(_module, inputs, name=module.activation) -> None:
            found[name] = max(found.get(name, 0), float(inputs[0].abs().max()))

        operation_of(recogniser.model, module).register_forward_pre_hook(note)
    features = np.stack([recogniser.front_end.features(samples) for samples in audio])
    recogniser.recognise(recogniser.enter({"hidden": features}), 0, recogniser.context([audio.shape[1]] * len(audio)))
    return {name: Range.symmetric(largest) for name, largest in found.items()}


def clear(audio: np.ndarray, decoder: Decoder, count: int = 8) -> np.ndarray:
    """The first recordings whose text stays the same with a little noise.

    Random weights prefer no word, so in others a rounding error decides: each program adds up in an order of its own.
    """
    draw = np.random.default_rng(1)
    texts = decoder.recognise(audio)
    for _ in range(3):
        noisy = decoder.recognise((audio + draw.normal(scale=NOISE, size=audio.shape)).astype(np.float32))
        texts = [text if text == other else None for text, other in zip(texts, noisy, strict=True)]
    found = audio[[text is not None for text in texts]][:count]
    assert len(found) == count
    return found


def main(folder: Path) -> None:
    """Write everything into ``folder``."""
    checkpoint, audio = folder / "checkpoint", recordings(60)
    write_tiny_whisper(folder / "source")
    import_checkpoint(str(folder / "source"), checkpoint)
    family = family_of(checkpoint)
    names = list(family.signatures(checkpoint))
    export_onnx(checkpoint, folder / "fp32.onnx", threads=1)
    modules = load_recogniser(checkpoint).modules
    graph = folder / "int8.onnx"
    ranges = maxima(checkpoint, audio[:8])
    insert_qdq(graph_files(folder / "fp32.onnx", names), modules, ranges, {}, graph_files(graph, names))
    order = Order("openvino", "stablequant", {"floating": "float32"}, [], [])
    build_engine(order, graph, checkpoint, modules, folder / "openvino")
    engines = {"openvino": folder / "openvino"}
    write_bundle(folder / "bundle", graph, checkpoint, engines, {"model": "tiny"}, "# tiny\n")
    engine = read_bundle(folder / "bundle").engine("openvino")
    decoder = family.decoder(engine, load_engine(engine, threads=1).networks)
    audio = clear(audio, decoder)
    texts = decoder.recognise(audio)
    assert texts == [decoder.recognise([samples])[0] for samples in audio]
    np.save(folder / "audio.npy", audio)
    (folder / "texts.json").write_text(json.dumps(texts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
