"""The calibration set read from its table, in batches, and the audio of each."""

import hashlib

import numpy as np
import pytest
from fake_recogniser import RATE, FakeRecogniser, songs, split_of, utterances_of

from stablequant.corpora.utterance import Utterance, table_of
from stablequant.errors import StableQuantError
from stablequant.recognisers.recogniser import Recognised
from stablequant.search.racing_order import decision_points
from stablequant.search.split import Split, check_finite, context_of, loaded, padded_samples, read_split
from stablequant.storage.files import write_table


@pytest.fixture
def recogniser(tmp_path) -> FakeRecogniser:
    """Of thirty utterances, whose table is beside."""
    recogniser = FakeRecogniser(songs(30))
    write_table(tmp_path / "utterances.tsv", table_of(utterances_of(recogniser), Utterance))
    return recogniser


def test_a_table_is_read_in_batches_of_so_many_megabytes(recogniser, tmp_path):
    split = read_split(recogniser, tmp_path / "utterances.tsv", 1.2e-3, seed=7)
    assert split.utterances == utterances_of(recogniser)
    assert split.batches == recogniser.batches(split.utterances, 1200, 7)
    assert (split.sample_rate, split.seed) == (RATE, 7)
    assert 3 < len(split.batches) < 30


def test_batches_end_where_racing_decides(recogniser, tmp_path):
    plain, raced = (read_split(recogniser, tmp_path / "utterances.tsv", 1.2e-3, 0, raced) for raced in (False, True))
    ends = np.cumsum([len(batch) for batch in raced.batches]).tolist()
    assert {*decision_points(30)} < {*ends}
    assert not {*decision_points(30)} <= {*np.cumsum([len(batch) for batch in plain.batches]).tolist()}
    assert sorted(u.path for batch in raced.batches for u in batch) == sorted(recogniser.audio)
    assert len(raced.batches) < 30, "each alone"


def test_a_digest_is_of_paths_audio_and_batches():
    first, second = (Utterance(name, f"/{name}.wav", 5, "x", name * 3) for name in "ab")
    split = Split([first, second], [[second], [first]], RATE)
    assert split.digest == hashlib.sha256(b"0 /b.wav bbb\n1 /a.wav aaa").hexdigest()
    assert Split([first, second], [[second, first]], RATE).digest != split.digest


def test_utterances_are_drawn_until_they_hold_the_audio_asked_for():
    """Ten utterances of a second each: 2.5 seconds take three, nothing takes none, and there are not more than all."""
    utterances = [Utterance(str(i), str(i), RATE, "x", "") for i in range(10)]
    split = Split(utterances, [utterances[:4], utterances[4:]], RATE, seed=3)
    order = np.random.default_rng(3).permutation(10)
    for seconds, count in ((2.5, 3), (3.0, 3), (3.01, 4), (0, 0), (99, 10)):
        drawn = [u for batch in split.sample(seconds) for u in batch]
        assert sorted(int(u.path) for u in drawn) == sorted(order[:count]), seconds
    assert split.sample(0) == []
    assert split.sample(99) == split.batches
    assert len(split.sample(1)) == 1


def test_padding_is_counted():
    recogniser = FakeRecogniser(songs(6))
    split = split_of(recogniser)
    expected = sum(len(batch) * max(u.samples for u in batch) for batch in split.batches)
    assert padded_samples(recogniser, split.batches) == expected
    assert any(context_of(recogniser, batch).padded for batch in split.batches)


def test_batches_come_with_their_context_and_audio():
    recogniser = FakeRecogniser(songs(6))
    split = split_of(recogniser)
    found = list(loaded(recogniser, split.batches, "test"))
    assert [batch for batch, _, _ in found] == split.batches
    for batch, context, state in found:
        assert context.audio == [u.samples for u in batch]
        for utterance, row in zip(batch, state["hidden"], strict=True):
            assert np.array_equal(row[: utterance.samples].numpy(), recogniser.audio[utterance.path])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_utterance_that_is_not_finite_is_named(value):
    batch = [Utterance(name, f"/{name}.wav", 5, "x", "") for name in "abc"]
    rows = [np.zeros((2, 3)) for _ in batch]
    check_finite(batch, [Recognised("", row) for row in rows])
    rows[1][1, 2] = rows[2][0, 0] = value
    with pytest.raises(StableQuantError) as error:
        check_finite(batch, [Recognised("", row) for row in rows])
    assert str(error.value) == "/b.wav: the network's output contains NaN or infinity; take an intact checkpoint"
