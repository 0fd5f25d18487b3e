"""Draw the demo's sentences from the templates, no sentence in two splits."""

import random
import re
from pathlib import Path

import yaml


def fill(template: str, words: dict[str, list[str]], draw: random.Random) -> str:
    """One sentence of ``template``, every ``{list}`` replaced by an entry of that list."""
    return re.sub(r"\{(\w+)\}", lambda match: draw.choice(words[match[1]]), template)


def draw_sentences(grammar: dict, count: int, draw: random.Random) -> list[str]:
    """``count`` distinct sentences, templates in equal parts."""
    sentences: dict[str, None] = {}
    templates = grammar["templates"]
    while len(sentences) < count:
        sentences[fill(templates[len(sentences) % len(templates)], grammar["words"], draw)] = None
    return list(sentences)


if __name__ == "__main__":
    grammar = yaml.safe_load(Path(snakemake.input.grammar).read_text())
    draw = random.Random(snakemake.params.seed)
    splits = snakemake.params.splits
    sentences = draw_sentences(grammar, sum(splits.values()), draw)
    draw.shuffle(sentences)
    for split, count in splits.items():
        chosen, sentences = sentences[:count], sentences[count:]
        Path(snakemake.output[split]).write_text("".join(f"{sentence}\n" for sentence in chosen))
