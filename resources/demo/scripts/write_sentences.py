"""Draw the demo's sentences from the templates, no sentence in two splits."""

import random
import re
from pathlib import Path

import yaml


def fill(template: str, words: dict[str, list[str]], draw: random.Random) -> str:
    """One sentence of ``template``, every ``{list}`` replaced by an entry of that list."""
    return re.sub(r"\{(\w+)\}", lambda match: draw.choice(words[match[1]]), template)


def draw_sentences(grammar: dict, count: int, draw: random.Random, taken: set[str]) -> list[str]:
    """``count`` distinct sentences in random order, templates in equal parts, none of those already ``taken``."""
    sentences: dict[str, None] = {}
    templates = grammar["templates"]
    while len(sentences) < count:
        sentence = fill(templates[len(sentences) % len(templates)], grammar["words"], draw)
        if sentence not in taken:
            sentences[sentence] = None
    shuffled = list(sentences)
    draw.shuffle(shuffled)
    return shuffled


def draw_splits(grammar: dict, sizes: dict[str, int], seed: int) -> dict[str, list[str]]:
    """The sentences of every split; ``refinement`` is drawn after all others and shares none with them."""
    first = {split: size for split, size in sizes.items() if split != "refinement"}
    sentences = draw_sentences(grammar, sum(first.values()), random.Random(seed), set())
    splits = {"refinement": draw_sentences(grammar, sizes["refinement"], random.Random(seed + 1), set(sentences))}
    for split, size in first.items():
        splits[split], sentences = sentences[:size], sentences[size:]
    return splits


if __name__ == "__main__":
    grammar = yaml.safe_load(Path(snakemake.input.grammar).read_text())
    splits = draw_splits(grammar, snakemake.params.splits, snakemake.params.seed)
    for split, sentences in splits.items():
        Path(snakemake.output[split]).write_text("".join(f"{sentence}\n" for sentence in sentences))
