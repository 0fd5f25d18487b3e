"""A fault in the configuration is named with its key and its remedy."""

import copy

import pytest
import yaml
from conftest import PROJECT

from stablequant.errors import StableQuantError
from stablequant.workflow.config import validate_config

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
