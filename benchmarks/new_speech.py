"""Speech beyond the demo's splits, **synthesised** by the demo's recipe: new sentences of its templates, none twice.

``held-out`` is for the last word on what was settled without it, ``development`` for choosing between ideas.
"""

import random
import sys
from itertools import chain
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parent.parent
RECIPE = PROJECT / "resources/demo"
sys.path.append(str(RECIPE / "scripts"))

from synthesise_speech import write_split
from write_sentences import draw_sentences, draw_splits

UTTERANCES = {"held-out": 3000, "development": 2000}
FIRST_SEED = 4  # on top of the recipe's; the numbers before are its own splits'


def synthesise(part: str, threads: int) -> Path:
    """The manifest of one of `UTTERANCES`, made unless it is there; flite must be installed."""
    folder = PROJECT / "results/new-speech"
    manifest = folder / f"{part}.tsv"
    if not manifest.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        recipe = yaml.safe_load((RECIPE / "recipe.yaml").read_text())
        sentences, seed = new_sentences(recipe)[part]
        write_split(sentences, folder / part, manifest, recipe["speech"], seed, threads)
    return manifest


def new_sentences(recipe: dict) -> dict[str, tuple[list[str], int]]:
    """Every part's sentences and seed."""
    grammar = yaml.safe_load((RECIPE / "sentences.yaml").read_text())
    taken = set(chain.from_iterable(draw_splits(grammar, recipe["splits"], recipe["seed"]).values()))
    parts = {}
    for seed, (part, count) in enumerate(UTTERANCES.items(), recipe["seed"] + FIRST_SEED):
        parts[part] = draw_sentences(grammar, count, random.Random(seed), taken), seed
        taken |= set(parts[part][0])
    return parts
