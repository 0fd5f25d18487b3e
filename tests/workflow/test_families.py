"""A second family, an encoder-decoder that only the tests have, runs through the whole DAG."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from running import planned, snakemake
from seq2seq_files import FAMILIES, NAME, known, write_project

from stablequant.bundle.transcribe import load_bundle
from stablequant.corpora.utterance import load_audio, read_utterances
from stablequant.storage.files import read_json, read_table

LAYERS = ["projection", "encoder01", "encoder02", "decoder01", "decoder02", "head"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    folder = write_project(tmp_path_factory.mktemp("seq2seq") / "project", engines=["openvino", "onnxruntime"])
    snakemake(folder)
    return folder


@pytest.fixture
def edited(ran, tmp_path) -> Path:
    """A copy of the finished run to edit."""
    folder = tmp_path / "seq2seq"
    shutil.copytree(ran, folder)
    return folder


def edit(file: Path) -> None:
    file.write_text(file.read_text() + "\n# edited\n")


def test_its_engines_are_judged_and_its_layers_probed_and_searched(ran):
    results = ran / "results/tiny"
    comparison = read_table(results / "comparison.tsv").set_index(["backend", "method"])
    assert comparison["status"].eq("evaluated").all()
    assert comparison.loc[("openvino", "fp32"), "wer"] == 0, "its own words are the truth"
    assert comparison.loc[("onnxruntime", "fp32"), "wer"] == 0
    assert read_table(results / "layers.tsv")["layer"].drop_duplicates().tolist() == LAYERS
    assert read_table(results / "sensitivity.tsv")["layer"].tolist() == LAYERS
    assert read_table(results / "comparison.tsv").query("method == 'stablequant'")["float_layers"].eq(0).all()
    assert {row["layer"] for row in read_json(results / "scales/stablequant.json")["activations"].values()} == {*LAYERS}


def test_both_graphs_are_quantized_and_small(ran):
    results = ran / "results/tiny"
    modules = set(read_table(results / "layers.tsv")["module"])
    found = set()
    for graph in ("stablequant.onnx", "stablequant.decoder.onnx"):
        names = {node.name for node in onnx.load(results / "onnx" / graph).graph.node}
        found |= {name.removesuffix("/weight_dq") for name in names if name.endswith("/weight_dq")}
    assert found == modules
    for backend, suffix in (("openvino", "xml"), ("onnxruntime", "onnx")):
        folder = results / f"engines/{backend}/stablequant"
        assert {f.name for f in folder.glob(f"*.{suffix}")} == {f"encoder.{suffix}", f"decoder.{suffix}"}
        ran_in = read_table(folder / "precision.tsv")
        assert set(ran_in["module"]) == modules and ran_in["requested"].eq("int8").all()


def test_hidden_values_of_several_tensors_were_cached_and_resumed(ran):
    assert read_json(ran / "results/tiny/hidden_values.json")["layers"], "nothing was cached"
    reference = read_json(ran / "results/tiny/reference.json")
    assert all(row["guide"] for row in reference["utterances"]), "posteriors are taken along fp32's tokens"
    probes = [row for layer in LAYERS for row in read_json(ran / f"results/tiny/sensitivity/{layer}.json")]
    assert all(np.isfinite(row["divergence"]) and row["divergence"] > 0 for row in probes)


def test_its_bundle_transcribes_and_verifies(ran):
    bundle = ran / "results/tiny/bundle"
    assert {"encoder.onnx", "decoder.onnx", "words.json", "config.json"} <= {f.name for f in bundle.iterdir()}
    assert "`encoder.onnx` and `decoder.onnx` hold the quantized graph" in (bundle / "README.md").read_text()
    hypotheses = read_table(ran / "results/tiny/evaluation/openvino/stablequant.tsv").set_index("utterance")
    with known():
        recogniser = load_bundle(bundle)
        for utterance in read_utterances(ran / "results/tiny/utterances/evaluation.tsv"):
            spoken = recogniser.transcribe(utterance.path)
            assert spoken.text == hypotheses.loc[utterance.utterance, "hypothesis"]
            assert spoken.seconds == pytest.approx(len(load_audio(utterance, 16_000)) / 16_000)


def test_an_edit_in_one_family_reruns_nothing_of_a_model_of_the_other(edited, project):
    assert planned(edited) == {}
    for file in (edited / "stablequant/recognisers/wav2vec2").glob("*.py"):
        edit(file)
    edit(edited / "stablequant/recognisers/ctc/decoding.py")
    assert planned(edited) == {}, "the encoder-decoder knows no CTC"
    edit(edited / f"stablequant/recognisers/{NAME}/loading.py")
    jobs = planned(edited)
    assert {"recognise_reference", "equalise_channels", "round_weights"} <= jobs.keys()
    assert not jobs.keys() & {"import_checkpoint", "list_utterances", "export_onnx"}
    shutil.copytree(FAMILIES / NAME, project / "stablequant/recognisers" / NAME)
    assert planned(project) == {}, "a new family"
    for file in (project / "stablequant/recognisers" / NAME).glob("*.py"):
        edit(file)
    assert planned(project) == {}


def test_an_edit_of_one_backend_rebuilds_its_engines_only(edited):
    edit(edited / "stablequant/engines/onnxruntime.py")
    printed = snakemake(edited, "--dry-run")
    assert "results/tiny/engines/onnxruntime/max" in printed
    assert "output: results/tiny/engines/openvino" not in printed
