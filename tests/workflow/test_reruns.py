"""Only the stages that an edit touches run again."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from projects import TINY_CONFIG, configure
from run_results import selected
from running import planned, snakemake

from stablequant.quantization.channel_scales import load_channel_scales
from stablequant.quantization.int8_weights import RoundedFile
from stablequant.storage.files import read_json, read_table, write_json


def test_more_or_less_disk_for_hidden_values_and_racing_that_is_off_rerun_nothing(project):
    configure(project, cache={"disk_mb": 0, "half": False}, racing={"enabled": False, "confidence": 0.8})
    assert planned(project) == {}


def test_without_stored_hidden_values_and_with_several_layers_in_a_job_the_results_are_the_same(project):
    names = ("sensitivity.tsv", "percentiles.tsv", "scales/stablequant.json")
    before = {name: (project / "results/tiny" / name).read_bytes() for name in names}
    configure(project, cache={"disk_mb": 0, "half": False}, probe={"layers_per_job": 5})
    printed = snakemake(project, "--forcerun", "recognise_reference", "--until", "optimise_scales")
    assert printed.count("rule probe_layer") == 2
    assert (project / "results/tiny/sensitivity/cnn01-positional.json").is_file()
    assert {name: (project / "results/tiny" / name).read_bytes() for name in names} == before


def test_racing_probes_every_layer_anew_and_finds_one_best_percentile_for_each_selected(project):
    configure(project, racing={"enabled": True, "confidence": 0.9}, probe={"layers_per_job": 12})
    assert planned(project)["probe_layer"] == 1
    snakemake(project, "--until", "gather_percentiles")
    assert read_table(project / "results/tiny/percentiles.tsv").groupby("layer")["best"].sum().eq(1).all()


@pytest.mark.parametrize(
    "change",
    [
        {"recentre": {"enabled": False}},
        {"split_audio": {"enabled": False}},
        {"racing": {"enabled": True, "confidence": 0.9}},
        {"cache": {"disk_mb": 4000, "half": True}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_switch_alone_reruns_the_reference(project, change):
    configure(project, **change)
    assert planned(project)["recognise_reference"] == 1


def test_massive_channels_are_chosen_anew_if_their_settings_change_and_what_follows_runs_again(project):
    settings = yaml.safe_load((project / "config.yaml").read_text())["massive_channels"]
    configure(project, massive_channels=settings | {"gain": 0.9})
    jobs = planned(project)
    assert {
        "choose_massive_channels",
        "round_weights",
        "recognise_reference",
        "probe_layer",
        "insert_qdq",
    } <= jobs.keys()
    assert not jobs.keys() & {"equalise_channels", "import_checkpoint", "list_utterances", "export_onnx"}
    table = read_table(project / "results/tiny/massive_channels.tsv")
    assert len(table) == len(load_channel_scales(project / "results/tiny/equalisation.safetensors")) + 1, (
        "and the audio"
    )


@pytest.mark.parametrize(
    ("step", "change", "rule"),
    [
        ("equalisation", {"exponent": 0.5}, "equalise_channels"),
        ("rounding", {"audio_seconds": 7}, "round_weights"),
        ("combination", {"suspects": 1}, "check_combination"),
        ("ties", {"points": 0.3}, "search_percentile"),
        ("ties", {"enabled": False}, "search_percentile"),
    ],
)
def test_a_step_runs_again_if_one_of_its_settings_changes(project, step, change, rule):
    settings = yaml.safe_load((project / "config.yaml").read_text())[step]
    configure(project, **{step: settings | change})
    assert planned(project)[rule]


def test_hidden_values_of_other_code_are_refused_with_one_sentence(project):
    index = project / "results/tiny/hidden_values.json"
    index.write_text(index.read_text().replace('"code": "', '"code": "0'))
    printed = snakemake(project, "results/tiny/sensitivity/head.json", "--force", expect=1)
    fault = "the cached values were made with another version of StableQuant; delete it, and run again"
    assert f"results/tiny/hidden_values.json: {fault}" in printed
    index.unlink()
    snakemake(project, "results/tiny/sensitivity/head.json")


def test_cuda_without_a_gpu_is_refused_with_one_sentence(project):
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    configure(project, device="cuda")
    printed = snakemake(project, "results/tiny/reference.json", expect=1)
    assert "config key 'device': CUDA is requested but torch finds no GPU; set 'auto' or 'cpu'" in printed
    assert "Traceback" not in printed


def test_nothing_changed_nothing_runs(project):
    assert planned(project) == {}


def test_editing_the_scales_spares_the_probes(project):
    file = project / "stablequant/search/optimise_scales.py"
    file.write_text(file.read_text() + "\n# edited\n")
    jobs = planned(project)
    assert jobs["optimise_scales"] == 2
    assert {"insert_qdq", "build_engine", "evaluate_engine", "compare"} <= jobs.keys()
    assert not jobs.keys() & {"probe_layer", "search_percentile", "select_layers", "recognise_reference", "export_onnx"}


def test_settings_that_no_method_or_backend_of_the_run_reads_rerun_nothing(project):
    tensorrt = yaml.safe_load((project / "config.yaml").read_text())["tensorrt"]
    configure(project, uniform_percentile=99.5, tensorrt=tensorrt | {"compute_capabilities": ["8.9"]})
    assert planned(project) == {}


def test_another_percentile_reruns_the_searches_and_what_follows(project):
    configure(project, percentiles=[99.9, 99.0, 98.0])
    jobs = planned(project)
    assert jobs["search_percentile"] == len(selected(project))
    assert {"optimise_scales", "compare"} <= jobs.keys()
    assert not jobs.keys() & {"probe_layer", "select_layers", "recognise_reference", "export_onnx"}


def int8_weights(graph: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """INT8 weights ``(outputs, ...)`` in a graph by the module's name."""
    model = onnx.load(graph)
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in model.graph.initializer}
    outputs_last = {node.name for node in model.graph.node if node.op_type == "MatMul"}
    found = {name: constants[f"{name}/weight"] for name in names}
    return {name: weight.T if name in outputs_last else weight for name, weight in found.items()}


def test_the_papers_procedure_neither_recentres_nor_equalises_and_rounds_to_the_nearest(project):
    results = project / "results/tiny"

    def centres() -> list[float]:
        return [row["centre"] for row in read_json(results / "scales/stablequant.json")["activations"].values()]

    assert sum(map(bool, centres())) > 8
    assert len(load_channel_scales(results / "channel_scales.safetensors")) > 8
    rounded = RoundedFile(results / "weights.safetensors")
    plain = int8_weights(results / "onnx/max.onnx", rounded)
    assert len(rounded) > 10
    own = int8_weights(results / "onnx/stablequant.onnx", rounded)
    assert all(np.array_equal(own[name], levels) for name, (levels, _) in rounded.items())
    assert not all(np.array_equal(own[name], plain[name]) for name in rounded)
    tiny = TINY_CONFIG["models"]["tiny"]
    configure(project, models={"tiny": tiny | {"procedure": "paper"}})
    jobs = planned(project)
    assert {
        "equalise_channels",
        "choose_massive_channels",
        "round_weights",
        "recognise_reference",
        "probe_layer",
    } <= jobs.keys()
    assert not jobs.keys() & {"import_checkpoint", "list_utterances", "export_onnx"}
    snakemake(project, "--until", "insert_qdq")
    assert not any(centres())
    assert load_channel_scales(results / "channel_scales.safetensors") == {}
    assert RoundedFile(results / "weights.safetensors") == {}
    own = int8_weights(results / "onnx/stablequant.onnx", rounded)
    assert all(np.array_equal(own[name], plain[name]) for name in rounded)
    graph = onnx.load(results / "onnx/stablequant.onnx")
    assert not [node.name for node in graph.graph.node if node.name.endswith(("/equalised", "/centred"))]
    prepared, unprepared = (results / f"{name}histograms.safetensors" for name in ("prepared_", ""))
    assert prepared.read_bytes() == unprepared.read_bytes()


def test_another_threshold_reruns_the_selection_and_what_follows_but_no_search(project):
    before = selected(project)
    configure(project, threshold=1000)
    jobs = planned(project)
    assert jobs["select_layers"] == 1
    assert not jobs.keys() & {"probe_layer", "search_percentile", "recognise_reference"}
    printed = snakemake(project)
    assert "rule search_percentile" not in printed
    assert "rule check_combination" in printed and "rule evaluate_engine" in printed
    assert selected(project) == []
    assert sorted(f.stem for f in (project / "results/tiny/percentiles").iterdir()) == sorted(before), "lost"
    configure(project, threshold=0)
    printed = snakemake(project)
    assert "rule search_percentile" not in printed, "a finished search was made again"
    assert selected(project) == before


def test_a_corrected_transcript_is_read(project, finished):
    for manifest in (project / "tsv").glob("*.tsv"):  # the audio of the copy
        manifest.write_text(manifest.read_text().replace(str(finished), str(project)))
    snakemake(project, "--until", "list_utterances")
    assert "list_utterances" not in planned(project)
    (transcripts, *_) = (project / "speech/evaluation").rglob("*.trans.txt")
    name, _, words = transcripts.read_text().partition(" ")
    transcripts.write_text(f"{name} yes {words}")
    jobs = planned(project)
    assert jobs["list_utterances"] == 1
    assert jobs["evaluate_engine"] == 3
    assert not jobs.keys() & {"build_engine", "probe_layer"}  # only plans are built for the lengths of what judges


def test_without_stablequant_nothing_is_searched(project):
    configure(project, methods=["fp32", "max"])
    shutil.rmtree(project / "results")
    jobs = planned(project)
    assert {"recognise_reference", "evaluate_engine", "write_report"} <= jobs.keys()
    assert not jobs.keys() & {"probe_layer", "search_percentile", "check_combination", "write_bundle"}


def test_another_result_of_a_probe_reruns_the_search_of_its_layer(project):
    file = project / f"results/tiny/sensitivity/{selected(project)[0]}.json"
    write_json(file, [row | {"divergence": row["divergence"] + 1} for row in read_json(file)])
    configure(project, threshold=0.25)  # selects the same layers: one word is more
    printed = snakemake(project, "--until", "select_layers")
    assert printed.count("so that one word is") == 1, "though an earlier run listed the split"
    assert planned(project)["search_percentile"] == 1


def test_another_share_of_unusable_audio_reruns_from_the_list_of_utterances(project):
    configure(project, max_rejected=0.5)
    jobs = planned(project)
    assert jobs["list_utterances"] == 2


def test_another_acceptable_loss_reruns_only_what_tells_the_verdict(project):
    configure(project, acceptable_loss=0.5)
    assert planned(project) == {"write_bundle": 1, "write_report": 1}


def test_a_changed_checkpoint_reruns_everything(project):
    file = project / "model/config.json"
    file.write_text(file.read_text() + "\n")
    jobs = planned(project)
    assert jobs["import_checkpoint"] == 1
    assert {"list_utterances", "recognise_reference", "export_onnx"} <= jobs.keys()
    printed = snakemake(project, "results/tiny/sensitivity.tsv")
    assert printed.count("rule probe_layer") == 8, "its layers are known when it was imported"


def test_layers_that_no_cut_off_mends_stay_in_floating_point_where_the_config_says_so(project):
    results = project / "results/tiny"
    configure(project, unrecovered="keep")
    jobs = planned(project)
    assert jobs["check_combination"] == 1
    assert not jobs.keys() & {"probe_layer", "search_percentile"}
    snakemake(project)
    kept = read_json(results / "combination.json")["float_layers"]
    searched = read_table(results / "percentiles.tsv")
    lost = searched[searched["best"] & (searched["degradation"] > 0)]
    assert set(lost["layer"]) <= set(kept) and kept
    scales = read_json(results / "scales/stablequant.json")
    assert scales["float_layers"] == kept
    assert not {row["layer"] for row in scales["activations"].values()} & set(kept)
    modules = read_table(results / "layers.tsv").set_index("module")["layer"]
    nodes = {node.name for node in onnx.load(results / "onnx/stablequant.onnx").graph.node}
    for module, layer in modules.items():
        assert (f"{module}/weight_dq" in nodes) == (layer not in kept), module
    asked = read_table(results / "precision.tsv").query("method == 'stablequant'").set_index("layer")["requested"]
    assert {layer for layer, precision in asked.items() if precision == "float32"} == set(kept)
    counted = read_table(results / "comparison.tsv").query("backend == 'openvino'").set_index("method")["float_layers"]
    assert counted[["fp32", "max", "stablequant"]].tolist() == [modules.nunique(), 0, len(kept)]
    floating = {m: read_json(results / f"engines/openvino/{m}/engine.json")["floating"] for m in ("max", "stablequant")}
    assert floating == {"max": "bfloat16", "stablequant": "float32"}, "a layer that is kept is kept in float32"
    assert f"Layers left in floating point: {', '.join(kept)}." in (results / "bundle/README.md").read_text().replace(
        "\n", " "
    )


def test_a_layer_that_was_stored_in_part_is_refused_and_the_remedy_mends_it(project):
    results = project / "results/tiny"
    (results / "hidden_values.json").unlink()
    snakemake(project, "--until", "recognise_reference", "--forcerun", "recognise_reference", "--notemp")
    stored = next((results / "hidden_values").iterdir())
    stored.write_bytes(stored.read_bytes()[:100])
    printed = snakemake(project, "results/tiny/sensitivity/head.json", "--force", expect=1)
    assert "delete results/tiny/hidden_values.json, and run again" in printed
    (results / "hidden_values.json").unlink()
    snakemake(project, "results/tiny/sensitivity/head.json")
