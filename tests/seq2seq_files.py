"""The tests' own family, an encoder-decoder: a checkpoint of it with random weights, and a project that runs it."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import yaml
from checkout import PROJECT
from listing import write_speech
from projects import TINY_CONFIG, copy_project
from safetensors.torch import save_file

import stablequant.recognisers
from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import read_manifest
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.registry import families, family_of

FAMILIES = PROJECT / "tests/families"
NAME = "tiny_seq2seq"
WORDS = ["<end>", "one", "two", "three", "four", "five", "six", "ten", "red", "green", "blue", "white", "black", "gold"]


@contextmanager
def known() -> Iterator[None]:
    """Inside the block this process knows the family too, as `stablequant.recognisers.tiny_seq2seq`."""
    stablequant.recognisers.__path__.append(str(FAMILIES))
    families.cache_clear()
    try:
        yield
    finally:
        stablequant.recognisers.__path__.remove(str(FAMILIES))
        families.cache_clear()


def write_checkpoint(folder: Path) -> None:
    """Random weights; the head's are large, so that words differ from token to token and from audio to audio."""
    from stablequant.recognisers.tiny_seq2seq.model import Model

    torch.manual_seed(3)
    model = Model(len(WORDS))
    model.decoder.head.bias.data[0] = -1  # sentences end late
    for layer in model.decoder.layers:
        layer.cross.out.weight.data *= 20
        layer.cross.q.weight.data *= 20
    folder.mkdir(parents=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "words.json").write_text(json.dumps(WORDS))
    config = {"model_type": "tiny-seq2seq", "architectures": ["TinySeq2Seq"], "rate": 16_000}
    (folder / "config.json").write_text(json.dumps(config))


def write_project(folder: Path, **changes) -> Path:
    """A project with the family among its own. Its words are the truth, so that every word that changes is lost."""
    copy_project(folder)
    shutil.copytree(
        FAMILIES / NAME, folder / "stablequant/recognisers" / NAME, ignore=shutil.ignore_patterns("__pycache__")
    )
    with known():
        write_checkpoint(folder / "model")
        write_splits(folder)
    configure_tiny(folder, **changes)
    return folder


def configure_tiny(folder: Path, **changes) -> None:
    """The config of a small run of the only model ``tiny``, with ``changes``."""
    model = {key: value for key, value in TINY_CONFIG["models"]["tiny"].items() if key != "peers"}
    settings = (
        yaml.safe_load((folder / "config.yaml").read_text()) | TINY_CONFIG | {"models": {"tiny": model}} | changes
    )
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))


def write_splits(folder: Path) -> None:
    """Six utterances for each split; what the recogniser in ``folder/model`` hears in them is their transcript."""
    for split in ("calibration", "evaluation"):
        write_speech(folder / "speech" / split, folder / f"tsv/{split}.tsv", 6, split)
        write_words(folder / "model", folder / f"tsv/{split}.tsv")


def write_words(checkpoint: Path, manifest: Path) -> None:
    """What the recogniser hears becomes the transcript."""
    recogniser = load_recogniser(checkpoint)
    front_end = family_of(checkpoint).front_end(checkpoint)
    manifest.with_suffix(".wrd").write_text("x\n" * (len(manifest.read_text().splitlines()) - 1))
    utterances, _ = list_utterances(read_manifest(manifest), front_end)
    texts = [recogniser.recognise(recogniser.load([u]), 0, recogniser.context([u.samples]))[0].text for u in utterances]
    manifest.with_suffix(".wrd").write_text("".join(f"{text}\n" for text in texts))
