"""Batches: of one length or barely padded, within the memory budget, in a fixed random order."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import DEMO, PROJECT

from stablequant.corpora.list_utterances import Utterance
from stablequant.recognisers.batches import PADDING, Footprint, footprint, make_batches
from stablequant.recognisers.ctc.front_end import read_front_end
from stablequant.search.recognise_reference import Split
from stablequant.storage.files import read_json

BYTE = Footprint(1.0, 0.0, 320)


def utterance(name: str, samples: int) -> Utterance:
    return Utterance(name, name, samples, "x", "")


def test_without_padding_batches_hold_one_length_and_at_most_the_budget():
    utterances = [utterance(str(i), 16_000 * (1 + i % 3)) for i in range(50)]
    batches = make_batches(utterances, BYTE, 160_000)
    assert sorted(u.utterance for b in batches for u in b) == sorted(u.utterance for u in utterances)
    assert all(len({u.samples for u in batch}) == 1 for batch in batches)
    assert max(sum(u.samples for u in batch) for batch in batches) == 160_000
    assert len(make_batches([utterance("long", 10**7)], BYTE, 160_000)) == 1


def test_no_batch_is_larger_than_an_engine_takes():
    batches = make_batches([utterance(str(i), 16_000) for i in range(20)], BYTE, 10**6, most=8)
    assert [len(batch) for batch in batches] == [8, 8, 4]


def test_padded_batches_waste_little_and_are_fewer():
    draw = np.random.default_rng(0)
    utterances = [utterance(str(i), int(s)) for i, s in enumerate(draw.integers(16_000, 480_000, 200))]
    batches = make_batches(utterances, BYTE, 2_000_000, padded=True)
    assert sorted(u.utterance for b in batches for u in b) == sorted(u.utterance for u in utterances)
    for batch in batches:
        space = len(batch) * max(u.samples for u in batch)
        assert space <= 2_000_000
        assert sum(u.samples for u in batch) >= (1 - PADDING) * space
    assert len(batches) < len(make_batches(utterances, BYTE, 2_000_000)) / 3


def test_the_order_is_random_but_fixed():
    utterances = [utterance(str(i), 16_000 * (1 + i)) for i in range(30)]
    ordered = make_batches(utterances, BYTE, 10**6)
    shuffled = make_batches(utterances, BYTE, 10**6, seed=1)
    assert shuffled == make_batches(utterances, BYTE, 10**6, seed=1)
    assert shuffled != ordered
    assert shuffled != make_batches(utterances, BYTE, 10**6, seed=2)
    key = str
    assert sorted(shuffled, key=key) == sorted(ordered, key=key)


@pytest.mark.parametrize("padded", [False, True])
def test_a_sample_of_a_split_holds_the_same_utterances_however_large_batches_are(padded):
    draw = np.random.default_rng(0)
    utterances = [utterance(str(i), int(s)) for i, s in enumerate(draw.integers(1, 6, 60) * 16_000)]
    samples = []
    for budget in (80_000, 10**6):
        batches = make_batches(utterances, BYTE, budget, padded, seed=3)
        split = Split(utterances, batches, read_front_end(DEMO), {}, seed=3)
        sample = split.sample(20)
        heard = [u for batch in sample for u in batch]
        assert 20 <= sum(u.samples for u in heard) / 16_000 < 20 + 5
        assert all(any(set(map(id, part)) <= set(map(id, batch)) for batch in batches) for part in sample)
        assert split.sample(10**6) == batches
        samples.append({u.path for u in heard})
    assert samples[0] == samples[1]
    assert samples[0] != {u.path for b in Split(utterances, batches, split.front_end, {}, 4).sample(20) for u in b}


def test_attention_scores_count_where_they_are_held():
    """Scores grow with the square of the length, so that twice the audio takes more than twice the memory."""
    config = read_json(DEMO / "config.json")
    scores = footprint(config | {"model_type": "wavlm"})
    assert footprint(config).bytes(32_000) == 2 * footprint(config).bytes(16_000)
    assert scores.bytes(32_000) > 2 * scores.bytes(16_000)


MEASURE = """
import sys
import torch
from pathlib import Path
from stablequant.workflow.memory import peak_rss_bytes
from stablequant.recognisers.wav2vec2.loading import load_recogniser
from stablequant.recognisers.wav2vec2.forward import Stages
stages = Stages(load_recogniser(Path(sys.argv[1]), threads=1))
rows = int(sys.argv[2])
stages.logits(stages.enter(torch.randn(1, 16_000)), 0, stages.frames([16_000]))
before = peak_rss_bytes()
stages.logits(stages.enter(torch.randn(rows, 48_000)), 0, stages.frames([48_000] * rows))
print(peak_rss_bytes() - before)
"""


@pytest.mark.parametrize("megabytes", [200, 600])
def test_a_batch_takes_about_the_memory_it_is_given(megabytes):
    """Measured on the demo; torch's allocator may hold on to a little more."""
    memory = footprint(read_json(DEMO / "config.json"))
    rows = int(megabytes * 1e6 / memory.bytes(48_000))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(DEMO), str(rows)],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    taken = int(done.stdout)
    assert 0.3 * megabytes * 1e6 < taken < 1.3 * megabytes * 1e6
