"""The demo: its speech is whole, its sentences are those of the recipe that made it, and the whole recipe runs."""

import random
import shutil
import sys

import pytest
import yaml
from checkout import PROJECT
from listing import FRONT_END
from running import snakemake

from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import read_manifest

RECIPE = PROJECT / "resources/demo"


def test_the_demos_splits_are_whole():
    splits = {}
    for split in ("calibration", "evaluation"):
        manifest = read_manifest(PROJECT / f"tsv/demo-{split}.tsv")
        splits[split], rejections = list_utterances(manifest, FRONT_END)
        assert not rejections
    assert len(splits["calibration"]) >= 150
    assert len(splits["evaluation"]) >= 300
    assert sum(len(u.transcript.split()) for u in splits["evaluation"]) >= 2000
    sentences = {split: {u.transcript for u in utterances} for split, utterances in splits.items()}
    assert not sentences["calibration"] & sentences["evaluation"]
    flac = sum(f.stat().st_size for f in (PROJECT / "resources/demo/speech").rglob("*.flac"))
    weights = (PROJECT / "resources/demo/model/model.safetensors").stat().st_size
    assert flac <= 25e6
    assert weights <= 25e6


def test_no_sentence_of_the_recipe_is_in_two_splits_and_the_committed_speech_is_the_recipes():
    sys.path.insert(0, str(RECIPE / "scripts"))
    from write_sentences import draw_splits

    recipe = yaml.safe_load((RECIPE / "recipe.yaml").read_text())
    grammar = yaml.safe_load((RECIPE / "sentences.yaml").read_text())
    splits = draw_splits(grammar, recipe["splits"], recipe["seed"])
    assert {split: len(sentences) for split, sentences in splits.items()} == recipe["splits"]
    everything = [sentence for sentences in splits.values() for sentence in sentences]
    assert len(set(everything)) == len(everything)
    for split in ("calibration", "evaluation"):
        spoken = set()
        for file in (RECIPE / "speech" / split).rglob("*.trans.txt"):
            spoken |= {line.split(" ", 1)[1].lower() for line in file.read_text().splitlines()}
        assert spoken == set(splits[split])


def test_no_sentence_of_the_new_speech_is_in_a_split_of_the_recipe():
    sys.path[:0] = [str(PROJECT / "benchmarks")]
    from new_speech import SEED, UTTERANCES, new_sentences
    from write_sentences import draw_splits

    recipe = yaml.safe_load((RECIPE / "recipe.yaml").read_text())
    grammar = yaml.safe_load((RECIPE / "sentences.yaml").read_text())
    found = new_sentences(recipe)
    assert len(found) == UTTERANCES
    splits = draw_splits(grammar, recipe["splits"], recipe["seed"]).values()
    everything = [s for sentences in (*splits, found) for s in sentences]
    assert len(set(everything)) == len(everything)
    assert SEED not in range(4), "a split of the recipe would have the same pitches, levels and noise"


def test_sentences_are_the_templates_filled():
    sys.path.insert(0, str(RECIPE / "scripts"))
    from write_sentences import draw_sentences

    grammar = {"templates": ["a {b}", "c d"], "words": {"b": ["x", "y"]}}
    drawn = draw_sentences(grammar, 2, random.Random(0), taken={"a x"})
    assert sorted(drawn) == ["a y", "c d"]


@pytest.mark.skipif(shutil.which("flite") is None, reason="the recipe speaks with flite, which is not installed")
def test_the_whole_recipe_runs_on_a_few_sentences(tmp_path):
    shutil.copytree(RECIPE, tmp_path / "resources/demo", ignore=shutil.ignore_patterns("speech", "model"))
    recipe = yaml.safe_load((RECIPE / "recipe.yaml").read_text())
    recipe["splits"] = {"training": 9, "refinement": 9, "calibration": 9, "evaluation": 9}
    for phase in recipe["training"]["phases"]:
        phase |= {"epochs": 1, "warmup_steps": 1}
    recipe["shape"] |= {"hidden_size": 16, "intermediate_size": 16}
    recipe["shape"] |= {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4}
    for model in recipe["models"].values():
        model["conv_dim"] = [8] * 7
    (tmp_path / "resources/demo/recipe.yaml").write_text(yaml.safe_dump(recipe))
    snakemake(tmp_path, "--snakefile", "resources/demo/Snakefile")
    for model in recipe["models"]:
        assert (tmp_path / f"resources/demo/{model}/model.safetensors").is_file()
        assert "WER on the calibration split" in (tmp_path / f"logs/recipe/train_recogniser/{model}.log").read_text()
    manifest = (tmp_path / "tsv/demo-evaluation.tsv").read_text().splitlines()
    assert len(manifest) == 10
    (tmp_path / "resources/demo/model/model.safetensors").unlink()
    snakemake(tmp_path, "--snakefile", "resources/demo/Snakefile")
    assert "epoch" not in (tmp_path / "logs/recipe/train_recogniser/model.log").read_text(), (
        "finished epochs were trained again"
    )
