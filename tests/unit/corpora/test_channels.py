"""A table names one channel of a recording, and that one is heard, not the mean of all."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from listing import FRONT_END
from sound import needs_ffmpeg

from stablequant.corpora.audio import read_audio
from stablequant.corpora.entries import Rejection
from stablequant.corpora.formats.stream import AudioError
from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import check_apart, read_manifest
from stablequant.corpora.utterance import Utterance, check_disjoint, load_audio, read_utterances, table_of
from stablequant.errors import StableQuantError
from stablequant.storage.files import write_table

RATE = 16_000
LEVELS = (0.25, 0.5, 0.125)  # of each channel; their means differ from all of them


@pytest.fixture
def folder(tmp_path) -> Path:
    """Recordings of one, two and three channels, in which each channel has a level of its own."""
    for count in (1, 2, 3):
        soundfile.write(tmp_path / f"{count}.wav", np.tile(np.float32(LEVELS[:count]), (RATE, 1)), RATE)
    return tmp_path


def listed(folder: Path, rows: list[dict[str, object]]) -> tuple[list[Utterance], list[Rejection]]:
    lines = [json.dumps({"path": "2.wav", "text": "A", **row}) for row in rows]
    (folder / "split.jsonl").write_text("\n".join(lines) + "\n")
    return list_utterances(read_manifest(folder / "split.jsonl"), FRONT_END)


@pytest.mark.parametrize(
    "names",
    [
        ["left", "right"],
        ["A", "b"],
        [0, 1],
        ["0", "1"],
        ["1", "2"],
        [1, 2],
        [1.0, 2.0],  # as pandas writes numbers beside blank cells
    ],
)
def test_the_channel_that_a_row_names_is_heard(folder, names, caplog):
    utterances, rejections = listed(folder, [{"channel": name} for name in names])
    assert not rejections
    assert not caplog.records, "nothing is mixed"
    assert [float(np.unique(load_audio(u, RATE)).item()) for u in utterances] == [0.25, 0.5]
    assert [u.utterance for u in utterances] == ["2-channel0", "2-channel1"]
    assert len({u.key for u in utterances}) == 2
    write_table(folder / "utterances.tsv", table_of(utterances, Utterance))
    assert read_utterances(folder / "utterances.tsv") == utterances
    check_disjoint(utterances[:1], utterances[1:])
    with pytest.raises(StableQuantError, match="the calibration split holds the same audio"):
        check_disjoint(utterances[:1], utterances[:1])


def test_the_third_channel_of_a_segment(folder):
    rows = [{"path": "3.wav", "Channel_ID": number, "start": 0.25, "end": 0.5} for number in (0, 2)]
    (first, third), rejections = listed(folder, rows)
    assert not rejections
    assert (first.utterance, third.utterance) == ("3-0.25-0.5-channel0", "3-0.25-0.5-channel2")
    assert np.unique(load_audio(third, RATE)).item() == 0.125
    assert len(load_audio(third, RATE)) == RATE // 4


def test_a_blank_cell_is_the_mean_of_all_channels(folder, caplog):
    rows = [{"channel": ""}, {"channel": None}, {"channel": "left"}, {"path": "1.wav", "channel": "left"}]
    utterances, rejections = listed(folder, rows)
    assert [(r.line, r.reason) for r in rejections] == [(2, "the same audio is on line 1 too")]
    assert [float(load_audio(u, RATE)[0]) for u in utterances] == [0.375, 0.25, 0.25]
    write_table(folder / "utterances.tsv", table_of(utterances, Utterance))
    assert read_utterances(folder / "utterances.tsv") == utterances
    assert [r.getMessage() for r in caplog.records] == ["1 files with 2 channels are mixed to one"]


@pytest.mark.parametrize(
    ("rows", "line", "reason"),
    [
        ([{"channel": "left"}, {"channel": "both"}], 2, "'both' is none of the file's 2 channels; write left"),
        ([{"channel": 0}, {"channel": 2}], 2, "channel 2 of a file that has 2"),
        ([{"channel": 0}, {"channel": -1}], 2, "channel -1 of a file that has 2"),
        ([{"channel": "left"}, {"path": "1.wav", "channel": "B"}], 2, "if each channel became a file, remove"),
        ([{"path": "1.wav", "channel": 1}, {"channel": 1}], 2, "does not tell whether its numbers count from 0 or"),
        ([{"path": "1.wav"}, {"channel": [0]}], 2, "'[0]' is none of the file's 2 channels"),
    ],
)
def test_a_channel_that_is_not_known_is_rejected_with_its_line(folder, rows, line, reason):
    utterances, (rejection,) = listed(folder, rows)
    assert len(utterances) == 1
    assert rejection.line == line
    assert reason in rejection.reason


def test_another_meaning_of_the_column_does_no_harm_to_audio_of_one_channel(folder):
    (utterance,), rejections = listed(folder, [{"path": "1.wav", "channel": "Public lectures"}])
    assert not rejections
    assert (utterance.channel, utterance.utterance) == (None, "1")


def test_kaldi_counts_channels_from_0(folder):
    (folder / "wav.scp").write_text("rec 2.wav\n")
    (folder / "segments").write_text("a rec 0 0.5 0\nb rec 0 0.5 1\nc rec 0.5 1 1\nd rec 0 1 2\n")
    (folder / "text").write_text("a A\nb B\nc C\nd D\n")
    utterances, (rejection,) = list_utterances(read_manifest(folder / "wav.scp"), FRONT_END)
    assert [float(load_audio(u, RATE)[0]) for u in utterances] == [0.25, 0.5, 0.5]
    assert (rejection.line, rejection.reason[:30]) == (4, "channel 2 of a file that has 2")


def test_splits_may_hold_different_channels_of_one_file(folder):
    manifests = []
    for name in ("left", "right", "left"):
        file = folder / f"{len(manifests)}.jsonl"
        file.write_text(json.dumps({"path": "2.wav", "text": "A", "channel": name}) + "\n")
        manifests.append(read_manifest(file))
    check_apart(manifests[0], manifests[1], "here")
    with pytest.raises(StableQuantError, match="1 of its 1 audio files are in the calibration data too"):
        check_apart(manifests[0], manifests[2], "here")


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["wav", "m4a"])
def test_a_channel_is_read_by_libsndfile_and_by_ffmpeg(tmp_path, suffix):
    time = np.arange(RATE) / RATE
    tones = np.stack([0.3 * np.sin(2 * np.pi * pitch * time) for pitch in (400, 1000)], axis=1)
    soundfile.write(tmp_path / "a.wav", tones, RATE)
    if suffix != "wav":
        command = ["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", tmp_path / f"a.{suffix}"]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    for channel, pitch in ((0, 400), (1, 1000)):
        samples = read_audio(tmp_path / f"a.{suffix}", RATE, channel=channel).samples[:RATE]
        assert np.abs(np.fft.rfft(samples)).argmax() == pytest.approx(pitch * len(samples) / RATE, abs=1)
        assert np.abs(samples).max() > 0.25, "the mean of both would be half as loud"
    with pytest.raises(AudioError, match="channel 3 is wanted, but the file has 2"):
        read_audio(tmp_path / f"a.{suffix}", RATE, channel=2)
