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


if __name__ == "__main__":
    grammar = yaml.safe_load(Path(snakemake.input.grammar).read_text())
    splits, seed = dict(snakemake.params.splits), snakemake.params.seed
    refinement = splits.pop("refinement")
    sentences = draw_sentences(grammar, sum(splits.values()), random.Random(seed), set())
    chosen = {"refinement": draw_sentences(grammar, refinement, random.Random(seed + 1), set(sentences))}
    for split, count in splits.items():
        chosen[split], sentences = sentences[:count], sentences[count:]
    for split, members in chosen.items():
        Path(snakemake.output[split]).write_text("".join(f"{sentence}\n" for sentence in members))
