"""A fault in the configuration is named with its key and its remedy."""

import copy

import pytest
import yaml
from checkout import PROJECT

from stablequant.engines.backend import BACKENDS
from stablequant.errors import StableQuantError
from stablequant.workflow.config import anchor, resolve_config
from stablequant.workflow.config_files import check_files
from stablequant.workflow.config_schema import validate_config
from stablequant.workflow.methods import METHODS

CONFIG = yaml.safe_load((PROJECT / "config.yaml").read_text())
SCHEMA = PROJECT / "config.schema.yaml"


def changed(path: list, value) -> dict:
    config = copy.deepcopy(CONFIG)
    place = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return config


def test_the_defaults_are_valid():
    validate_config(CONFIG, SCHEMA)


def test_the_schema_knows_the_backends_and_the_methods_that_there_are():
    """The Snakefile takes them for its wildcards."""
    properties = yaml.safe_load(SCHEMA.read_text())["properties"]
    assert properties["engines"]["items"]["enum"] == list(BACKENDS)
    assert properties["methods"]["items"]["enum"] == list(METHODS)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (["treshold"], 1, "'treshold'.*did you mean 'threshold'"),
        (["models", "demo", "calibratoin"], "x", "'models: demo: calibratoin'.*did you mean 'calibration'"),
        (["tensorrt", "compute_capability"], ["8.6"], "tensorrt: compute_capability.*compute_capabilities"),
        (["threshold"], "0.25", "'threshold': '0.25' is text; write 0.25, without quotes.*points of WER"),
        (["threshold"], "1e-1", "'threshold': '1e-1' is text; write 0.1, without quotes"),
        (["threshold"], "much", "'threshold': 'much' is text; give a number. The key means: points of WER"),
        (["threshold"], None, "'threshold': it is empty; give a number"),
        (["threshold"], float("nan"), "'threshold': nan cannot be used; give a finite number"),
        (["threshold"], float("inf"), "'threshold': inf cannot be used"),
        (["seed"], 1.5, "'seed': 1.5 is a number; give a whole number"),
        (["percentiles"], [99.9, 101], "'percentiles: 1': 101 is out of range; .* more than 50 and less than 100"),
        (["percentiles"], 99.9, "'percentiles': 99.9 is a number; give a list"),
        (["percentiles"], [99.9, 99, 99.9], "'percentiles': 99.9 is listed twice; keep one"),
        (["methods"], ["max"], "'methods': 'fp32' is missing; add it to the list. The key means: calibrations"),
        (["methods"], "fp32", "'methods': 'fp32' is text; give a list"),
        (["engines"], ["openvno"], "'engines: 0': 'openvno' is not known; did you mean 'openvino'. Else choose one of"),
        (
            ["engines"],
            ["OpenVINO"],
            "'engines: 0': 'OpenVINO' is not known; did you mean 'openvino'. Else choose one of",
        ),
        (["engines"], [], "'engines': nothing is listed; name at least one"),
        (["device"], "tpu", "'device': 'tpu' is not known; .*choose one of auto, cpu, cuda. .*: where the search runs"),
        (
            ["models"],
            {"a/b": CONFIG["models"]["demo"]},
            "'models: a/b': this name cannot be used; use at most 100 of the",
        ),
        (["models"], {"a" * 101: CONFIG["models"]["demo"]}, "'models: a+': this name cannot be used"),
        (["models"], {"a\n": CONFIG["models"]["demo"]}, "'models: a\n': this name cannot be used"),
        (["models"], {960: CONFIG["models"]["demo"]}, "'models: 960': YAML does not read .* put the name in quotes"),
        (["models"], {False: CONFIG["models"]["demo"]}, "'models: false': YAML does not read this name as text"),
        (["models"], {}, "'models': nothing is listed; name at least one. The key means: recognisers to quantize"),
        (["models"], None, "'models': it is empty; give a block"),
        (["models"], ["demo"], "'models': ..demo.. is a list; give a block"),
        (["models", "demo"], "x", "'models: demo': 'x' is text; give a block .* with checkpoint, calibration, eval"),
        (
            ["models", "demo"],
            {"calibration": "a.tsv"},
            "'models: demo': without the key checkpoint, evaluation; add ",
        ),
        (["models", "demo", "checkpoint"], ["a"], "'models: demo: checkpoint': ..a.. is a list; give text"),
        (["models", "demo", "checkpoint"], 960, "'models: demo: checkpoint': 960 is a whole .*in quotes: \"960\""),
        (["models", "demo", "calibration"], "", "'models: demo: calibration': it is empty; give text"),
        (["models", "demo", "layers"], {"cnn": 7, "transformer": 6}, "'models: demo: layers'.*there is no such key"),
        (["models", "demo", "procedure"], "original", "'models: demo: procedure': 'original' is not known"),
        (["procedure"], "original", "'procedure': 'original' is not known; choose one of paper, extended"),
        (["recentre"], True, "'recentre': true is a truth value; give a block of keys and values, with enabled"),
        (["split_audio"], {}, "'split_audio': without the key enabled; .* whether the first convolution"),
        (["rounding", "enabled"], "yes", "'rounding: enabled': 'yes' is text; give true or false"),
        (["equalisation", "exponent"], 1.5, "'equalisation: exponent': 1.5 is out of range; .* 0 and at most 1"),
        (["tensorrt", "compute_capabilities"], [8.6], "compute_capabilities: 0': 8.6 is a number; put it in quotes"),
        (["tensorrt", "compute_capabilities"], ["86"], "'86' does not have the right form; .*such as \"8.6\""),
    ],
)
def test_faults_are_named(path, value, named):
    with pytest.raises(StableQuantError, match=named):
        validate_config(changed(path, value), SCHEMA)


def test_every_key_of_the_schema_is_described():
    schema = yaml.safe_load(SCHEMA.read_text())
    for key, entry in schema["properties"].items():
        assert entry["description"], key
    assert set(schema["required"]) == set(CONFIG)


def test_every_key_within_a_block_is_described():
    def properties(block: dict):
        for key, entry in block.get("properties", {}).items():
            yield key, entry
            yield from properties(entry)
        if isinstance(block.get("additionalProperties"), dict):
            yield from properties(block["additionalProperties"])

    for key, entry in properties(yaml.safe_load(SCHEMA.read_text())):
        assert len(entry["description"].split()) > 2, key


def test_a_model_that_an_overlay_sets_to_null_is_left_out():
    config = changed(["models", "other"], None)
    resolve_config(config, SCHEMA)
    assert config == CONFIG


@pytest.mark.parametrize("key", ["checkpoint", "calibration", "evaluation", "audio_root", "peers"])
def test_librispeech_in_a_path_is_its_folder(tmp_path, key):
    (tmp_path / "part").mkdir()
    config = changed(["models", "demo", key], "{librispeech}/part") | {"librispeech": str(tmp_path)}
    resolve_config(config, SCHEMA)
    assert config["models"]["demo"] == CONFIG["models"]["demo"] | {key: f"{tmp_path}/part"}


def test_librispeech_that_is_not_there_is_named_with_how_to_fetch_it(tmp_path):
    config = changed(["models", "demo", "evaluation"], "{librispeech}/part") | {"librispeech": str(tmp_path / "no")}
    with pytest.raises(StableQuantError, match=r"'librispeech': the folder '.*/no' does not exist; .*--config librisp"):
        resolve_config(config, SCHEMA)
    config["models"]["demo"]["evaluation"] = "tsv/demo-evaluation.tsv"
    resolve_config(config, SCHEMA)


@pytest.mark.parametrize("key", ["calibration", "evaluation", "audio_root", "peers"])
def test_a_path_that_does_not_exist_is_named_with_its_key_and_where_it_was_looked_for(key):
    with pytest.raises(StableQuantError, match=f"'models: demo: {key}': 'tsv/no.tsv' does not exist .*in {PROJECT}"):
        resolve_config(changed(["models", "demo", key], "tsv/no.tsv"), SCHEMA)


def test_one_file_for_calibration_and_evaluation_is_refused():
    with pytest.raises(StableQuantError, match=r"demo-calibration.tsv' is the calibration data too; give other audio"):
        resolve_config(changed(["models", "demo", "evaluation"], "tsv/../tsv/demo-calibration.tsv"), SCHEMA)


def test_paths_of_the_defaults_are_those_beside_the_snakefile(tmp_path):
    (tmp_path / "speech").mkdir()
    absolute = str(tmp_path / "speech")
    config = {
        "models": {"a": {"checkpoint": "owner/name", "calibration": "speech", "note": "speech"}, "b": None},
        "librispeech": "speech",
    }
    anchor(config, tmp_path)
    assert config == {
        "models": {"a": {"checkpoint": "owner/name", "calibration": absolute, "note": "speech"}, "b": None},
        "librispeech": absolute,
    }


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("seed: 1\nmodels: {}\nseed: 2\n", "mine.yaml, line 3: the config key 'seed' is on line 1 too; keep one"),
        ("models:\n  a:\n    note: x\n    note: y\n", "line 4: the config key 'models: a: note' is on line 3 too"),
        ("models:\n  no: {note: x}\n", 'line 2: .* name no as text; put it in quotes: "no":'),
        ("models:\n  1.0: {note: x}\n", 'name 1.0 as text; put it in quotes: "1.0":'),
        ("models:\n  mine:\n", "line 2: the model 'mine' is empty; give it a checkpoint, calibration and evaluation"),
    ],
)
def test_what_reading_yaml_would_lose_is_named_with_its_line(tmp_path, text, named):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(StableQuantError, match=named):
        check_files([SCHEMA.with_name("config.yaml"), tmp_path / "mine.yaml"])


def test_names_in_quotes_and_models_that_another_file_removes_are_taken(tmp_path):
    (tmp_path / "mine.yaml").write_text('models:\n  demo: null\n  "no": {note: x}\n  1e3: {note: x}\n')
    (tmp_path / "other.yaml").write_text('models: {"no": null}\n')
    check_files([SCHEMA.with_name("config.yaml"), tmp_path / "mine.yaml", tmp_path / "other.yaml"])
