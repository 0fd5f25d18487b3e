"""Long recordings with timestamps: the same segments as transformers' own long-form generation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor
from whisper_files import SECONDS, import_tiny_whisper, tones, torch_networks, write_tiny_whisper

from stablequant.recognisers.decoder import NotFiniteError, text_of
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.whisper.greedy import GreedyDecoder
from stablequant.recognisers.whisper.layers import read_sizes
from stablequant.recognisers.whisper.long_form import (
    Fallback,
    Writer,
    compression,
    spread,
    transcribe_windows,
    words_of,
)
from stablequant.recognisers.whisper.timestamps import Segment, TimeTokens, allowed_with_times, split_segments

RATE = 16_000
FRAME = 0.01  # s
NEVER = Fallback(temperatures=(0.0,), most_no_speech=1.0)
TIMES = TimeTokens([1, 2], zero=100, last=200, latest_first=None, no_speech=None)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return import_tiny_whisper(tmp_path_factory.mktemp("whisper"), times=True, max_target_positions=40)


@pytest.fixture(scope="module")
def networks(checkpoint):
    return torch_networks(checkpoint)


@pytest.fixture(scope="module")
def original(checkpoint):
    return WhisperForConditionalGeneration.from_pretrained(checkpoint.parent / "source")


def decoder_of(checkpoint, networks, fallback=NEVER) -> GreedyDecoder:
    return GreedyDecoder(family_of(checkpoint).front_end(checkpoint), read_sizes(checkpoint), networks, fallback)


def segments_of(checkpoint, networks, samples, fallback=NEVER) -> list[tuple[float, float, list[int]]]:
    """Start, end and text of each segment."""
    front_end = family_of(checkpoint).front_end(checkpoint)
    decoder = decoder_of(checkpoint, networks, fallback)
    window = front_end.window // front_end.hop
    found = transcribe_windows(front_end, samples, window, decoder._encoded, fallback)
    return [
        (
            pytest.approx((start + segment.start) * FRAME, abs=1e-6),
            pytest.approx((start + segment.end) * FRAME, abs=1e-6),
            [token for token in segment.tokens if token < front_end.end],
        )
        for start, segment in found
    ]


def generated(checkpoint, original, samples, **settings) -> list[tuple[float, float, list[int]]]:
    """The same by transformers."""
    front_end = family_of(checkpoint).front_end(checkpoint)
    found = original.generate(
        torch.from_numpy(front_end.features(samples))[None],
        return_timestamps=True,
        return_segments=True,
        language="en",
        task="transcribe",
        temperature=0.0,
        **settings,
    )
    return [
        (float(s["start"]), float(s["end"]), [token for token in s["tokens"].tolist() if token < front_end.end])
        for s in found["segments"][0]
    ]


@pytest.mark.parametrize("seed", range(4))
def test_segments_are_those_of_transformers(checkpoint, networks, original, seed):
    samples = tones(5 + 2.37 * seed, seed)
    found = segments_of(checkpoint, networks, samples)
    assert len(found) > 4
    assert found == generated(checkpoint, original, samples)


def test_unlikely_windows_without_speech_are_left_out_as_by_transformers(checkpoint, networks, original):
    samples = tones(9, 1)
    all_windows = segments_of(checkpoint, networks, samples)
    left = {}
    for most in (0.9e-8, 1.2e-8, 1.0):
        fallback = Fallback((0.0,), most_compression=np.inf, least_log_probability=-0.35, most_no_speech=most)
        left[most] = segments_of(checkpoint, networks, samples, fallback)
        settings = {"no_speech_threshold": most, "logprob_threshold": -0.35}
        assert left[most] == generated(checkpoint, original, samples, **settings)
    assert left[1.0] == all_windows
    assert len({len(kept) for kept in left.values()}) == 3, "thresholds leave out the same windows"


def test_rules_of_timestamps_are_those_of_transformers(checkpoint, original):
    """On random scores, behind every beginning that the rules allow."""
    front_end = family_of(checkpoint).front_end(checkpoint)
    settings = original.generation_config
    settings.suppress_tokens = settings.begin_suppress_tokens = None
    rules = WhisperTimeStampLogitsProcessor(settings, begin_index=0)
    plain = type(front_end)(**{**vars(front_end), "suppressed": [], "suppressed_first": []})
    draw = np.random.default_rng(0)
    for _ in range(40):
        tokens: list[int] = []
        for _ in range(8):
            scores = draw.normal(size=original.config.vocab_size) * draw.uniform(0.1, 5)
            expected = rules(torch.tensor([tokens], dtype=torch.int64), torch.from_numpy(scores)[None])[0].numpy()
            found = allowed_with_times(plain, plain.times, scores, tokens)
            assert np.array_equal(np.isfinite(found), np.isfinite(expected))
            tokens.append(int(found.argmax()))


@pytest.mark.parametrize(
    ("tokens", "cuts", "onward"),
    [
        ([100, 5, 6, 110, 110, 7, 130, 130], [(0, 20, 4), (20, 60, 3)], 60),  # ends with a pair: goes on from there
        ([100, 5, 110, 112, 7, 130], [(0, 20, 3), (24, 60, 3)], 200),  # a single one: no speech behind it
        ([100, 5, 110, 112, 7, 8], [(0, 20, 3)], 20),  # unfinished text is dropped and decoded anew
        ([100, 5, 6], [(0, 200, 3)], 200),
        ([100, 5, 6, 140], [(0, 80, 4)], 200),
    ],
)
def test_segments_of_a_text(tokens, cuts, onward):
    segments, found = split_segments(TIMES, tokens, 200)
    assert [(s.start, s.end, len(s.tokens)) for s in segments] == cuts
    assert found == onward


def test_words_have_times_inside_their_segments(checkpoint, networks):
    samples = tones(7.3, 2)
    decoder = decoder_of(checkpoint, networks)
    words = decoder.transcribe(samples, 30, 1, 1)
    assert words
    assert all(0 <= word.start <= word.end <= 7.3 and 0 < word.confidence <= 1 for word in words)
    assert [word.start for word in words] == sorted(word.start for word in words)
    assert words == decoder.transcribe(samples, SECONDS, 1, 1)
    shorter = decoder.transcribe(samples, 1, 1, 1)
    assert shorter != words and shorter[-1].end > 6
    times = [time for word in shorter for time in (word.start, word.end)]
    assert times == sorted(times)
    assert decoder.transcribe(samples[:100], 30, 1, 1) == []


def test_words_share_a_segment_by_their_characters():
    found = [(word.word, word.start, word.end) for word in spread(["one", "three"], 2.0, 4.0, [0.5, 1.0])]
    assert found == [("one", 2.0, 2.75), ("three", 2.75, 4.0)]
    assert spread([], 1, 2, []) == []


def test_a_words_confidence_is_the_geometric_mean_of_its_tokens(checkpoint):
    front_end = family_of(checkpoint).front_end(checkpoint)
    zero = front_end.times.zero
    text = front_end.tokenizer.encode(" so it").ids
    assert len(text) == 6, "every byte is a token"
    chances = [0.9, 0.5, 0.5, 0.25, 0.8, 0.4, 0.1, 0.7]
    found = words_of(front_end, Segment(0, 100, [zero, *text, zero + 9], np.log(chances)), 0.0, 1.0)
    assert [(word.word, word.confidence) for word in found] == [
        ("so", pytest.approx((0.5 * 0.5 * 0.25) ** (1 / 3), abs=1e-4)),
        ("it", pytest.approx((0.8 * 0.4 * 0.1) ** (1 / 3), abs=1e-4)),
    ]
    first = [*text[:1], *text[:1], *text[1:]]  # a token that is a space alone
    mixed = words_of(front_end, Segment(0, 100, first, np.log(chances[:7])), 0.0, 1.0)
    assert [word.confidence for word in mixed] == 2 * [pytest.approx(np.prod(chances[:7]) ** (1 / 7), abs=1e-4)]


def test_the_first_word_of_a_segment_begins_it(checkpoint):
    front_end = family_of(checkpoint).front_end(checkpoint)
    tokens = front_end.tokenizer.encode(" so it is").ids
    segment = Segment(0, 100, tokens, np.zeros(len(tokens)))
    assert [word.begins_segment for word in words_of(front_end, segment, 0.0, 1.0)] == [True, False, False]
    without_times = replace(front_end, times=None)
    assert not any(word.begins_segment for word in words_of(without_times, segment, 0.0, 1.0))


@pytest.mark.parametrize(
    ("language", "texts", "joined"),
    [
        ("en", [" one two", " three"], "one two three"),
        ("en", ["one two", "three"], "one two three"),
        ("ja", ["東京", "です"], "東京です"),
        ("ja", ["iPhone を", " 買う"], "iPhone を 買う"),
    ],
)
def test_segments_are_joined_as_their_language_is_written(checkpoint, language, texts, joined):
    front_end = replace(family_of(checkpoint).front_end(checkpoint), language=language)
    words = []
    for text in texts:
        tokens = front_end.tokenizer.encode(text).ids
        words += words_of(front_end, Segment(0, 100, tokens, np.zeros(len(tokens))), 0.0, 1.0)
    assert text_of(words) == joined


def test_a_text_that_repeats_itself_is_drawn_with_higher_temperatures(checkpoint, networks):
    """The same words each time, since the draws are seeded."""
    samples = tones(4, 0)
    greedy = segments_of(checkpoint, networks, samples)
    strict = Fallback(temperatures=(0.0, 1.0), most_compression=0.0, least_log_probability=-np.inf)
    drawn = segments_of(checkpoint, networks, samples, strict)
    assert [tokens for *_, tokens in drawn] != [tokens for *_, tokens in greedy]
    assert [t for *_, t in drawn] == [t for *_, t in segments_of(checkpoint, networks, samples, strict)]
    lenient = Fallback(temperatures=(0.0, 1.0), most_compression=np.inf, least_log_probability=-np.inf)
    assert [t for *_, t in segments_of(checkpoint, networks, samples, lenient)] == [t for *_, t in greedy]
    assert compression("no, " * 60) > 2.4 > compression("He has grave doubts whether Sir Frederick's work is Greek.")


def test_likelihood_is_the_mean_of_the_written_tokens(checkpoint):
    front_end = family_of(checkpoint).front_end(checkpoint)
    writer = Writer(front_end, front_end.times, 0.0, np.random.default_rng(0))
    scores = np.full(read_sizes(checkpoint)["vocab_size"], -np.inf)
    scores[front_end.times.zero], scores[front_end.times.zero + 1] = np.log(0.75), np.log(0.25)
    assert writer.choose([], scores) == front_end.times.zero
    assert writer.log_probability == pytest.approx(np.log(0.75))


def test_a_vocabulary_without_timestamps_is_decoded_window_by_window(tmp_path):
    write_tiny_whisper(tmp_path / "source")
    import_checkpoint(str(tmp_path / "source"), tmp_path / "checkpoint")
    decoder = decoder_of(tmp_path / "checkpoint", torch_networks(tmp_path / "checkpoint"))
    samples = tones(2 * SECONDS + 1, 3)
    words = decoder.transcribe(samples, 30, 1, 1)
    texts = [decoder.recognise([samples[first : first + SECONDS * RATE]])[0] for first in (0, SECONDS * RATE)]
    front_end = family_of(tmp_path / "checkpoint").front_end(tmp_path / "checkpoint")
    spelled = front_end.spell(" ".join(word.word for word in words if word.end <= 2 * SECONDS))
    assert spelled == front_end.spell(" ".join(texts))
    assert words[-1].end == 2 * SECONDS + 1


def test_a_network_that_is_not_finite_is_told(checkpoint, networks):
    broken = networks | {"encoder": lambda _: {"last_hidden_state": np.full((1, 100, 32), np.nan, dtype=np.float32)}}
    with pytest.raises(NotFiniteError):
        decoder_of(checkpoint, broken).transcribe(tones(3), 30, 1, 1)
