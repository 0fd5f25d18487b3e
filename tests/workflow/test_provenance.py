"""Every model and engine says what it was made of, and nothing that is handed on says where."""

import hashlib
import sys
from pathlib import Path

import pytest

from stablequant.storage.files import read_json
from stablequant.workflow.provenance import provenance


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_every_graph_engine_and_bundle_names_what_it_was_made_of(finished):
    results = finished / "results/tiny"
    graphs = [file.with_suffix(".provenance.json") for file in (results / "onnx").glob("*.onnx")]
    engines = [folder / "provenance.json" for folder in (results / "engines").glob("*/*")]
    assert len(graphs) == len(engines) == 3
    for file in [*graphs, *engines, results / "bundle/quantization.json"]:
        content = read_json(file)
        assert content["command"].startswith("snakemake results/tiny/")
        assert len(content["code"]) == 16
        assert content["packages"]["torch"]
        assert content["hardware"]
    quantized = read_json(results / "onnx/stablequant.provenance.json")
    assert quantized["inputs"]["graph"] == {"fp32.onnx": digest(results / "onnx/fp32.onnx")}
    assert quantized["inputs"]["scales"] == {"stablequant.json": digest(results / "scales/stablequant.json")}
    engine = read_json(results / "engines/openvino/max/provenance.json")
    assert engine["inputs"]["graph"] == {"max.onnx": digest(results / "onnx/max.onnx")}
    assert engine["inputs"]["checkpoint"]["model.safetensors"] == digest(results / "checkpoint/model.safetensors")

    bundle = read_json(results / "bundle/quantization.json")["inputs"]
    folder = results / "engines/openvino/stablequant"
    assert bundle["engines/0"]["model.bin"] == digest(folder / "model.bin")
    assert bundle["hypotheses/0"] == {"stablequant.tsv": digest(results / "evaluation/openvino/stablequant.tsv")}


def test_nothing_that_is_handed_on_holds_a_path_of_this_machine(finished):
    places = [f"{place}/" for place in (finished, Path(__file__).parents[2], Path(sys.prefix).resolve(), Path.home())]
    for file in (finished / "results/tiny/bundle").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            found = [place for place in places if place.encode() in content]
            assert not found, f"{file.name}: {found}"


def test_what_was_read_is_told_by_content(tmp_path):
    (tmp_path / "folder/deep").mkdir(parents=True)
    (tmp_path / "folder/deep/a").write_text("a")
    (tmp_path / "b").write_text("b")
    told = provenance("r", "results/x", {"f": tmp_path / "folder", "b": tmp_path / "b"}, {"code": "0", "seed": 1})
    assert told["inputs"] == {"f": {"deep/a": digest(tmp_path / "folder/deep/a")}, "b": {"b": digest(tmp_path / "b")}}
    assert (told["settings"], told["code"]) == ({"seed": 1}, "0")
    (tmp_path / "b").write_text("c")
    again = provenance("r", "results/x", {"f": tmp_path / "folder", "b": tmp_path / "b"}, {"code": "0", "seed": 1})
    assert again["inputs"]["b"] != told["inputs"]["b"]
    assert again | {"inputs": 0} == told | {"inputs": 0}
    with pytest.raises(FileNotFoundError):
        provenance("r", "x", {"gone": tmp_path / "gone.json"}, {})
