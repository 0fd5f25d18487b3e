"""Bundles of the demo with one layer in INT8, which keeps its words."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from checkout import DEMO
from graphs import build, export, quantize_graph
from recognising import Loaded, heard, torch_network

from stablequant.bundle.write_bundle import Sample, write_bundle
from stablequant.corpora.utterance import Utterance
from stablequant.quantization.collecting import Preparation, collecting
from stablequant.quantization.ranges import full_range
from stablequant.recognisers.import_checkpoint import import_checkpoint

BACKENDS = ("openvino", "onnxruntime")


def write_demo_bundle(folder: Path, demo: Loaded, utterances: list[Utterance]) -> Path:
    """Write a bundle, and what it is made from, into ``folder``; two of ``utterances`` are its samples."""
    import_checkpoint(str(DEMO), folder / "checkpoint")
    imported = Loaded.load(folder / "checkpoint")
    head = [m for m in demo.modules if m.layer == "head"]
    with collecting(demo.model, head, Preparation(recentre=True)) as collectors:
        heard(demo, torch_network(demo.model), utterances[:10])
    ranges = {name: full_range(histogram) for name, histogram in collectors.histograms().items()}
    fp32 = export(imported, folder / "fp32.onnx")
    int8 = quantize_graph(fp32, head, ranges, {}, folder / "int8.onnx")
    floating = {m.layer for m in demo.modules} - {"head"}
    engines = {backend: build(imported, int8, folder / backend, backend, floating) for backend in BACKENDS}
    truth = heard(demo, torch_network(demo.model), utterances[:2])
    samples = [Sample(Path(u.path), u.transcript, {"openvino": truth[u.path]}) for u in utterances[:2]]
    return bundle_of(folder / "bundle", folder, engines, samples)


def bundle_of(folder: Path, made: Path, engines: Mapping[str, Path], samples: Sequence[Sample] = ()) -> Path:
    """Write a bundle with these ``engines``; ``made`` is the folder of what `write_demo_bundle` made its own from."""
    write_bundle(folder, made / "int8.onnx", made / "checkpoint", engines, {"model": "demo"}, "# demo\n", samples)
    return folder
