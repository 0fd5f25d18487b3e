"""A fault in the configuration is named with its key and its remedy."""

import copy

import pytest
import yaml
from conftest import PROJECT

from stablequant.errors import StableQuantError
from stablequant.workflow.config import resolve_config, validate_config

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


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (["treshold"], 1, "'treshold'.*did you mean 'threshold'"),
        (["models", "demo", "calibratoin"], "x", "'models: demo: calibratoin'.*did you mean 'calibration'"),
        (["tensorrt", "compute_capability"], ["8.6"], "tensorrt: compute_capability.*compute_capabilities"),
        (["threshold"], "0.25", "'threshold'.*points of WER"),
        (["percentiles"], [99.9, 101], "'percentiles: 1'"),
        (["methods"], ["max"], "'methods'"),
        (["engines"], ["openvno"], "openvno"),
        (["device"], "gpu", "'device'.*where the search runs"),
        (["models"], {"a/b": CONFIG["models"]["demo"]}, "a/b"),
        (["models", "demo", "layers"], {"cnn": 7, "transformer": 6}, "'models: demo: layers'.*there is no such key"),
        (["models", "demo", "procedure"], "original", "'models: demo: procedure'.*'original' is not one of"),
        (["procedure"], "original", "'procedure'.*'original' is not one of"),
        (["recentre"], True, "'recentre'.*True is not of type 'object'"),
        (["split_audio"], {}, "'split_audio'.*'enabled' is a required property"),
        (["rounding", "enabled"], "yes", "'rounding: enabled'.*'yes' is not of type 'boolean'"),
        (["equalisation", "exponent"], 1.5, "'equalisation: exponent'.*greater than the maximum"),
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


def test_a_model_that_an_overlay_sets_to_null_is_left_out():
    config = changed(["models", "other"], None)
    resolve_config(config, SCHEMA)
    assert config == CONFIG


@pytest.mark.parametrize("key", ["checkpoint", "calibration", "evaluation", "audio_root"])
def test_librispeech_in_a_path_is_its_folder(tmp_path, key):
    config = changed(["models", "demo", key], "{librispeech}/part") | {"librispeech": str(tmp_path)}
    resolve_config(config, SCHEMA)
    assert config["models"]["demo"] == CONFIG["models"]["demo"] | {key: f"{tmp_path}/part"}


def test_librispeech_that_is_not_there_is_named_with_how_to_fetch_it(tmp_path):
    config = changed(["models", "demo", "evaluation"], "{librispeech}/part") | {"librispeech": str(tmp_path / "no")}
    with pytest.raises(StableQuantError, match=r"'librispeech': the folder '.*/no' does not exist; .*--config librisp"):
        resolve_config(config, SCHEMA)
    config["models"]["demo"]["evaluation"] = "tsv/demo-evaluation.tsv"
    resolve_config(config, SCHEMA)
