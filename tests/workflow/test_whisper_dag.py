"""A tiny Whisper with random weights runs through the whole DAG."""

from pathlib import Path

import onnx
import pytest
import yaml
from projects import configure, copy_project
from running import planned, snakemake
from seq2seq_files import configure_tiny, write_splits
from whisper_files import write_tiny_whisper

from stablequant.bundle.transcribe import load_bundle
from stablequant.bundle.verify import verify
from stablequant.corpora.utterance import read_utterances
from stablequant.search.attention_table import outputs_in_int8
from stablequant.storage.files import read_json, read_table

LAYERS = ["conv1", "conv2", "encoder01", "encoder02", "decoder01", "decoder02", "head"]
GRAPHS = ("encoder", "decoder", "decoder_with_past")


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    folder = copy_project(tmp_path_factory.mktemp("whisper") / "project")
    write_tiny_whisper(folder / "model", seconds=5)
    write_splits(folder)
    configure_tiny(
        folder, engines=["openvino", "onnxruntime"], methods=["fp32", "stablequant"], probe={"layers_per_job": 12}
    )
    snakemake(folder)
    return folder


def test_its_engines_are_judged_and_its_layers_probed(ran):
    results = ran / "results/tiny"
    comparison = read_table(results / "comparison.tsv").set_index(["backend", "method"])
    assert comparison["status"].eq("evaluated").all()
    fp32 = comparison.xs("fp32", level="method")
    assert fp32["wer"].max() == fp32["wer"].min() < 50, "its own words are the truth, as far as they are spelled alike"
    assert read_table(results / "sensitivity.tsv")["layer"].tolist() == LAYERS
    assert comparison.xs("stablequant", level="method")["float_layers"].eq(0).all()
    reference = read_json(results / "reference.json")
    assert all(row["guide"] for row in reference["utterances"])
    assert read_json(results / "hidden_values.json")["layers"], "nothing was cached"


def test_all_three_graphs_are_quantized(ran):
    results = ran / "results/tiny"
    modules = set(read_table(results / "layers.tsv")["module"])
    found = {}
    for name, file in zip(GRAPHS, ("stablequant", "stablequant.decoder", "stablequant.decoder_with_past"), strict=True):
        nodes = {node.name for node in onnx.load(results / f"onnx/{file}.onnx").graph.node}
        found[name] = {node.removesuffix("/weight_dq") for node in nodes if node.endswith("/weight_dq")}
    assert found["encoder"] | found["decoder"] == modules
    once = {m for m in modules if m.endswith(("encoder_attn.k_proj", "encoder_attn.v_proj"))}
    assert found["decoder"] - found["decoder_with_past"] == once
    files = {
        "openvino": {"encoder.xml", "decoder.xml"},  # one decoder with a memory
        "onnxruntime": {f"{name}.onnx" for name in GRAPHS},
    }
    for backend, expected in files.items():
        folder = results / f"engines/{backend}/stablequant"
        assert {f.name for f in (*folder.glob("*.xml"), *folder.glob("*.onnx"))} == expected


def test_its_scores_are_in_int8_where_the_search_says_so(ran):
    results = ran / "results/tiny"
    chosen = outputs_in_int8(read_table(results / "attention.tsv"))
    assert chosen, "no scores are in INT8"
    activations = read_json(results / "scales/stablequant.json")["activations"]
    outputs = {name for name in activations if name.endswith((".queries", ".keys"))}
    assert outputs == set(chosen)
    nodes = {node.name for node in onnx.load(results / "onnx/stablequant.onnx").graph.node}
    assert {name for name in nodes if name.endswith((".queries/q", ".keys/q"))} == {f"{name}/q" for name in chosen}


def test_its_bundle_verifies_and_transcribes(ran):
    samples = verify(ran / "results/tiny/bundle").samples
    heard = list(samples)
    assert heard and all(sample.same and sample.stored for sample in heard)
    utterances = read_utterances(ran / "results/tiny/utterances/evaluation.tsv")
    hypotheses = read_table(ran / "results/tiny/evaluation/openvino/stablequant.tsv").set_index("utterance")
    recogniser = load_bundle(ran / "results/tiny/bundle")
    front_end = recogniser.bundle.family.front_end(ran / "results/tiny/bundle")
    for utterance in utterances:  # its vocabulary has no timestamps, so that the same is decoded
        spoken = recogniser.transcribe(utterance.path)
        assert front_end.spell(spoken.text) == hypotheses.fillna("").loc[utterance.utterance, "hypothesis"]


def test_the_choice_of_scores_is_made_anew_for_another_setting_and_falls_away_with_the_step(ran):
    assert planned(ran) == {}
    before = (ran / "config.yaml").read_text()
    settings = yaml.safe_load(before)["attention"]
    configure(ran, attention=settings | {"divergence": 1e-9})
    jobs = planned(ran)
    assert jobs["choose_attention"] == 1
    assert {"recognise_reference", "insert_qdq"} <= jobs.keys()
    assert not jobs.keys() & {"import_checkpoint", "equalise_channels", "choose_massive_channels", "round_weights"}
    configure(ran, attention=settings | {"enabled": False})
    jobs = planned(ran)
    assert "recognise_reference" in jobs and "choose_attention" not in jobs
    (ran / "config.yaml").write_text(before)
