"""A tiny random Wav2Vec2-BERT recogniser runs through the whole DAG."""

from pathlib import Path
from statistics import median

import pytest
from bert_files import write_tiny_bert
from listing import write_speech
from projects import copy_project
from running import snakemake
from seq2seq_files import configure_tiny, write_words

from stablequant.bundle.transcribe import load_bundle
from stablequant.corpora.utterance import read_utterances
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.registry import family_of
from stablequant.storage.files import read_json, read_table

LAYERS = ["projection", "transformer01", "transformer02", "adapter01", "head"]
SETTINGS = {"engines": ["openvino", "onnxruntime", "tensorrt-rtx"], "probe": {"layers_per_job": 12}}


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    """With an adapter, as published fine-tunes have; the recogniser's own words are the truth."""
    folder = copy_project(tmp_path_factory.mktemp("bert") / "project")
    write_tiny_bert(folder / "model", "adapter")
    import_checkpoint(str(folder / "model"), folder / "imported")
    for split in ("calibration", "evaluation"):
        write_speech(folder / "speech" / split, folder / f"tsv/{split}.tsv", 6, split)
        write_words(folder / "imported", folder / f"tsv/{split}.tsv")
    configure_tiny(folder, **SETTINGS)
    snakemake(folder)
    return folder


def test_its_engines_are_judged_and_its_layers_probed(ran):
    results = ran / "results/tiny"
    comparison = read_table(results / "comparison.tsv").set_index(["backend", "method"])
    for backend in ("openvino", "onnxruntime"):
        assert comparison.loc[backend, "status"].eq("evaluated").all()
        assert comparison.loc[(backend, "fp32"), "wer"] == 0, "its own words are the truth"
        assert comparison.loc[(backend, "stablequant"), "float_layers"] == 0
    assert comparison.loc["tensorrt-rtx", "status"].str.startswith("built, not run").all()
    assert read_table(results / "layers.tsv")["layer"].drop_duplicates().tolist() == LAYERS
    assert read_table(results / "sensitivity.tsv")["layer"].tolist() == LAYERS
    assert {row["layer"] for row in read_json(results / "scales/stablequant.json")["activations"].values()} == {*LAYERS}
    assert read_json(results / "hidden_values.json")["layers"], "nothing was cached"


def test_its_plan_is_tuned_for_the_calibration_split_and_takes_both(ran):
    results = ran / "results/tiny"
    calibration, evaluation = (
        [u.samples for u in read_utterances(results / f"utterances/{split}.tsv")]
        for split in ("calibration", "evaluation")
    )
    front_end = family_of(results / "checkpoint").front_end(results / "checkpoint")
    _, typical, longest = read_json(results / "engines/tensorrt-rtx/fp32/engine.json")["profile"]["stacks"]
    assert typical == front_end.stacks(int(median(calibration)))
    assert typical != front_end.stacks(int(median(evaluation))), "else this would prove nothing"
    assert longest >= front_end.stacks(max(*calibration, *evaluation))


def test_its_bundle_transcribes(ran):
    bundle = ran / "results/tiny/bundle"
    assert "`attention_mask`" in (bundle / "README.md").read_text()
    hypotheses = read_table(ran / "results/tiny/evaluation/openvino/stablequant.tsv").set_index("utterance")
    recogniser = load_bundle(bundle)
    for utterance in read_utterances(ran / "results/tiny/utterances/evaluation.tsv"):
        assert recogniser.transcribe(utterance.path).text == hypotheses.loc[utterance.utterance, "hypothesis"]
