"""The command line as a config: it fits the schema, and what is wrong is told with the option."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from checkout import DEMO, PROJECT
from listing import write_speech
from snakemake.utils import update_config

from stablequant.errors import StableQuantError
from stablequant.quantize.settings import (
    Options,
    changes_of,
    config_of,
    defaults,
    engines_of,
    merged_config,
    methods_of,
    write_config,
)
from stablequant.workflow.config import resolve_config


@pytest.fixture
def options(tmp_path) -> Options:
    for split in ("calibration", "evaluation"):
        write_speech(tmp_path / split, tmp_path / f"{split}.tsv", 1, split)
    return Options(str(DEMO), tmp_path / "calibration.tsv", tmp_path / "evaluation.tsv", tmp_path / "out")


@pytest.mark.parametrize(("checkpoint", "name"), [(str(DEMO), "model"), ("owner/demo", "demo-model")])
def test_the_config_that_is_written_is_the_workflows_with_one_model(options, checkpoint, name):
    asked = replace(options, checkpoint=checkpoint)
    write_config(asked)
    config = defaults()
    update_config(config, yaml.safe_load((options.out / "config.yaml").read_text()))
    assert config == merged_config(asked), "the plan is of what will run"
    resolve_config(config, PROJECT / "config.schema.yaml")
    splits = {split: str(getattr(options, split)) for split in ("calibration", "evaluation")}
    assert config["models"] == {name: {"checkpoint": checkpoint, **splits}}, "nothing of the demo's"
    assert (config["engines"], config["methods"]) == (["openvino"], ["fp32", "max", "stablequant"])
    assert config["bundle_samples"] == 0, "nobody's voice leaves the machine unasked"


def test_what_was_asked_for_stands_in_it(options):
    asked = Options(
        *("owner/name@main", options.calibration, options.evaluation, options.out, ["onnxruntime"], ["fp32"], "deu"),
        *(options.out, (("threshold", 0.5),)),
    )
    config = config_of(asked)
    assert config["threshold"] == 0.5
    model = config["models"]["name"]
    assert model["checkpoint"] == "owner/name@main" and model["target_lang"] == "deu"
    assert model["engines"] == ["onnxruntime"] and model["audio_root"] == str(options.out.absolute())


@pytest.mark.parametrize(
    ("checkpoint", "name"),
    [
        ("owner/wav2vec2-base@v1", "wav2vec2-base"),
        ("models/my model (1)/", "my-model-1"),
        ("a/hubert.large.pt", "hubert.large"),
        ("a/demo", "demo-model"),
        ("demo.pt", "demo-model"),
    ],
)
def test_a_model_is_named_after_its_checkpoint(options, checkpoint, name):
    assert Options(checkpoint, options.calibration, options.evaluation, options.out).model == name


def test_the_same_command_again_leaves_the_config_as_it_is(options):
    write_config(options)
    before = (options.out / "config.yaml").stat().st_mtime_ns
    write_config(options)
    assert (options.out / "config.yaml").stat().st_mtime_ns == before


def test_anothers_config_and_a_missing_split_are_refused(options):
    options.out.mkdir()
    (options.out / "config.yaml").write_text("models: {}\n")
    with pytest.raises(
        StableQuantError, match=r"config.yaml: it was not written by this command; give another folder to"
    ):
        write_config(options)
    with pytest.raises(StableQuantError, match=r"--evaluation: 'none.tsv' does not exist; correct the path"):
        write_config(Options(str(DEMO), options.calibration, Path("none.tsv"), options.out))


def test_engines_and_methods_are_checked_before_anything_runs():
    assert engines_of(["openvino,onnxruntime", "openvino"]) == ["openvino", "onnxruntime"]
    with pytest.raises(StableQuantError, match="--engines: 'tensorrtx' is not known; did you mean 'tensorrt"):
        engines_of(["tensorrtx"])
    with pytest.raises(StableQuantError, match=r"--methods: 'minmax' is not known; .*nown are fp32, max, "):
        methods_of(["minmax"])
    assert methods_of(["mse"]) == ["fp32", "mse", "stablequant"], "the verdict compares these two"
    assert methods_of([]) == engines_of([]) == []


def test_any_key_of_the_config_can_be_set(options):
    further = ["max_rejected=0.02", "cache.disk_mb=0", "cache.half=true", "racing.confidence=0.9", "threshold=3"]
    changes = changes_of({"racing": {"enabled": True}, "threshold": 0.5}, further)
    config = merged_config(replace(options, changes=changes))
    resolve_config(config, PROJECT / "config.schema.yaml")
    assert (config["max_rejected"], config["cache"]) == (0.02, {"disk_mb": 0, "half": True})
    assert config["racing"] == {"enabled": True, "confidence": 0.9}
    assert config["threshold"] == 0.5, "an option of its own wins"


@pytest.mark.parametrize("text", ["max_rejected", "=1", "cache.=0", ".disk_mb=0", "seed={", ""])
def test_what_sets_no_key_is_refused(text):
    with pytest.raises(StableQuantError, match=r"is not KEY=VALUE; write for example --set max_rejected=0\.02"):
        changes_of({}, [text])


def test_the_model_is_not_set_by_keys():
    with pytest.raises(StableQuantError, match="described by the other options"):
        changes_of({}, ["models.demo.checkpoint=x"])
