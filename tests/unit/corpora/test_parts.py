"""Parts of recordings, from the table that names them to the samples that are recognised."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from checkout import PROJECT
from listing import FRONT_END, expected, write_librispeech

from stablequant.corpora.audio import Audio, cut, read_audio, read_part
from stablequant.corpora.entries import Part, RowError
from stablequant.corpora.list_utterances import DrawnPart, list_utterances
from stablequant.corpora.manifests import read_manifest
from stablequant.corpora.parts import may_cut, part_of, role_of, seconds_of
from stablequant.corpora.utterance import Utterance, check_disjoint, load_audio, read_utterances, score, table_of
from stablequant.errors import StableQuantError
from stablequant.storage.files import checksum, write_table

RATE = 16_000


@pytest.fixture
def recording(tmp_path) -> Path:
    """A recording of 4 s, in which each sample says its place."""
    soundfile.write(tmp_path / "talk.wav", np.arange(4 * RATE, dtype=np.float32) / 2**16, RATE, subtype="FLOAT")
    return tmp_path / "talk.wav"


def listed(folder: Path, *rows: dict[str, object]) -> tuple[list[Utterance], list[tuple[int, str]]]:
    lines = [json.dumps({"path": "talk.wav", "text": "A", **row}) for row in rows]
    (folder / "split.jsonl").write_text("\n".join(lines) + "\n")
    utterances, rejections = list_utterances(read_manifest(folder / "split.jsonl"), FRONT_END)
    return utterances, [(r.line, r.reason) for r in rejections]


@pytest.mark.parametrize(
    ("row", "start", "stop"),
    [
        ({"offset": 1.5, "duration": 2}, 1.5, 3.5),
        ({"offset": "1.5", "duration": "2"}, 1.5, 3.5),
        ({"start": 1.5, "end": 3.5}, 1.5, 3.5),
        ({"start": 1.5, "end": 3.5, "duration": 2.0}, 1.5, 3.5),
        ({"start": 1.5, "end": 3.5, "duration": 4.0}, 1.5, 3.5),
        ({"start": 1.5, "start_ms": 1500, "end": 3.5}, 1.5, 3.5),
        ({"start_ms": 1500, "end_ms": 3500}, 1.5, 3.5),
        ({"startSeconds": 1.5, "End_Time": 3.5}, 1.5, 3.5),
        ({"start_samples": 24_000, "end_samples": 56_000}, 1.5, 3.5),
        ({"start_sample": 24_000, "duration_samples": 32_000}, 1.5, 3.5),
        ({"start": 1.5}, 1.5, 4.0),
        ({"end": 3.5}, 0.0, 3.5),
        ({"offset": 0, "duration": 3.0}, 0.0, 3.0),
        ({"offset": 1.0, "duration": 3.05}, 1.0, 4.0),
    ],
)
def test_a_part_is_read_and_nothing_else(recording, row, start, stop):
    (utterance,), rejections = listed(recording.parent, row)
    assert not rejections
    assert (utterance.start, utterance.stop) == (start, stop)
    heard = load_audio(utterance, RATE) * 2**16
    assert heard.tolist() == list(range(int(start * RATE), int(stop * RATE)))
    assert utterance.samples == len(heard)


@pytest.mark.parametrize("channel", [None, 1])
@pytest.mark.parametrize(
    ("name", "rate", "subtype", "direct"),
    [
        *[
            (f"talk.{kind}", RATE, "PCM_16", True)
            for kind in ("wav", "flac", "w64", "aiff", "au", "caf", "rf64", "nist")
        ],
        *[("talk.wav", RATE, kind, True) for kind in ("PCM_U8", "PCM_24", "FLOAT", "ULAW")],
        ("talk.nist", RATE, "ULAW", True),
        ("talk.flac", RATE, "PCM_24", True),
        *[("talk.ogg", RATE, "VORBIS", False), ("talk.mp3", RATE, "MPEG_LAYER_III", False)],
        *[("talk.wav", RATE, "IMA_ADPCM", False), ("talk.flac", 44_100, "PCM_16", False)],
    ],
)
def test_a_part_is_the_same_whether_the_file_is_decoded_from_its_start_or_not(
    tmp_path, name, rate, subtype, direct, channel
):
    """Cut from all of the audio, and, in files that find each sample, read alone."""
    path = tmp_path / name
    kind = None if name.endswith(("wav", "flac", "ogg", "mp3", "w64", "aiff", "au", "caf")) else name[5:].upper()
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, (4 * rate, 2)), rate, subtype, format=kind)
    whole = read_audio(path, RATE, channel=channel).samples
    for start, stop in ((0.0, 0.5), (1.23456, 3.3), (3.5, 4.0)):
        part = read_part(path, RATE, start, stop, channel)
        assert (part is not None) == direct
        utterance = Utterance("a", str(path), 1, "A", checksum(path), None, start, stop, channel)
        assert np.array_equal(load_audio(utterance, RATE), cut(whole, RATE, start, stop))
        assert part is None or np.array_equal(part, cut(whole, RATE, start, stop))


def test_a_part_of_joined_files_is_that_of_both(tmp_path):
    """libsndfile would look for samples of the first FLAC in all of the file, and may find the second's."""
    draw, path = np.random.default_rng(0), tmp_path / "talk.flac"
    joined = b""
    for name in ("first.flac", "second.flac"):
        soundfile.write(tmp_path / name, draw.uniform(-0.5, 0.5, 2 * RATE), RATE)
        joined += (tmp_path / name).read_bytes()
    path.write_bytes(joined)
    audio = read_audio(path, RATE).samples
    assert len(audio) == 4 * RATE
    for start in np.arange(0, 4, 0.25).tolist():
        assert read_part(path, RATE, start, start + 0.25, None) is None
        utterance = Utterance("a", str(path), 1, "A", checksum(path), None, start, start + 0.25)
        assert np.array_equal(load_audio(utterance, RATE), cut(audio, RATE, start, start + 0.25))


def test_a_part_that_the_header_hides_is_read_all_the_same(tmp_path):
    """The header tells of two seconds, and the file is decoded to its end, at four."""
    path = tmp_path / "talk.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE), RATE, "PCM_16")
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = (2 * RATE * 2).to_bytes(4, "little")
    path.write_bytes(content)
    whole = read_audio(path, RATE).samples
    assert len(whole) == 4 * RATE
    assert read_part(path, RATE, 1.5, 3.0, None) is None
    utterance = Utterance("a", str(path), 1, "A", checksum(path), None, 1.5, 3.0)
    assert np.array_equal(load_audio(utterance, RATE), cut(whole, RATE, 1.5, 3.0))


def test_each_file_is_decoded_once_also_if_its_parts_are_drawn(tmp_path, monkeypatch):
    decoded = []

    def counted(path: Path, *arguments: object, **settings: object) -> Audio:
        decoded.append(path.name)
        return read_audio(path, *arguments, **settings)

    monkeypatch.setattr("stablequant.corpora.list_utterances.read_audio", counted)
    names = ["one.wav", "two.wav", "three.wav"]
    for name in names:
        soundfile.write(tmp_path / name, np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE), RATE)
    rows = [{"path": name, "text": "A", "start": i / 2, "end": i / 2 + 0.5} for name in names for i in range(8)]
    (tmp_path / "split.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    utterances, _ = list_utterances(read_manifest(tmp_path / "split.jsonl"), FRONT_END, DrawnPart(9.0, 0))
    assert len(utterances) == 18
    assert sorted(decoded) == sorted(names)
    assert all(u.samples == RATE // 2 == len(load_audio(u, RATE)) for u in utterances)


def test_files_that_are_decoded_anew_for_each_part_are_told(tmp_path, caplog):
    for name, rate in (("talk.wav", RATE), ("slow.wav", 8000), ("talk.ogg", RATE), ("once.ogg", RATE)):
        soundfile.write(tmp_path / name, np.random.default_rng(0).uniform(-0.5, 0.5, 4 * rate), rate)
    rows = [{"path": name, "start": start, "end": start + 1} for name in ("talk.wav", "slow.wav") for start in (0, 2)]
    rows += [{"path": "talk.ogg", "start": start, "end": start + 1} for start in (1, 3)]
    utterances, rejections = listed(tmp_path, *rows, {"path": "once.ogg", "start": 1, "end": 2})
    assert (len(utterances), rejections) == (7, [])
    told = [record.getMessage() for record in caplog.records if "for each of their parts" in record.getMessage()]
    assert told == [
        f"2 files are decoded anew for each of their parts, such as {tmp_path}/slow.wav; WAV or FLAC at 16000 Hz saves "
        "this time"
    ]


def test_a_recording_that_changed_between_two_of_its_parts_is_refused(recording):
    utterances, _ = listed(recording.parent, {"start": 0.5, "end": 1.5}, {"start": 2.0, "end": 3.0})
    assert len(load_audio(utterances[0], RATE)) == RATE
    soundfile.write(recording, np.zeros(4 * RATE, dtype=np.float32), RATE, subtype="FLOAT")
    with pytest.raises(StableQuantError, match="the audio changed since it was listed"):
        load_audio(utterances[1], RATE)


@pytest.mark.parametrize(
    "row",
    [
        *({}, {"offset": 0}, {"duration": 4.0}, {"offset": 0, "duration": 4.0}, {"offset": None, "duration": 3.96}),
        *({"start": 0, "end": 4.04}, {"start": "", "end": ""}, {"duration_ms": 4000}, {"duration": 6.5}),
    ],
)
def test_a_part_that_covers_the_file_is_the_file(recording, row):
    (utterance,), rejections = listed(recording.parent, row)
    assert not rejections
    assert (utterance.utterance, utterance.start, utterance.stop, utterance.samples) == ("talk", None, None, 4 * RATE)
    assert utterance.key == utterance.path == str(recording)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"start": 3.5, "end": 4.5}, "the segment from 3.5 to 4.5 s lies outside the file, which has 4.00 s"),
        ({"start": 4, "duration": 1}, "lies outside the file"),
        ({"start": 9}, "lies outside the file"),
        ({"offset": 1, "duration": 4}, "lies outside the file"),
        ({"start": -1, "end": 2}, "-1 in the column 'start' is negative"),
        ({"duration": -1}, "is negative"),
        ({"start": 2, "end": 2}, "the segment is empty"),
        ({"start": 3, "end": 2}, "the segment is empty"),
        ({"duration": 0}, "the segment is empty"),
        ({"start": float("nan")}, "'nan' in the column 'start' is not a number"),
        ({"end": float("inf")}, "is not a number"),
        ({"start": "00:01"}, "is not a number"),
        ({"start": "1_0"}, "is not a number"),
        ({"start": True}, "is not a number"),
        ({"start": 1, "begin": 2, "end": 3}, "the columns 'start' and 'begin' differ"),
        ({"start_samples": 1, "end": 3}, "in samples and in seconds"),
        ({"start": 1, "end": 3, "duration": 1}, "has not the duration"),
        ({"start": 1, "duration": 0.02}, "320 samples are too few"),
    ],
)
def test_a_part_that_is_none_is_rejected_with_its_line(recording, row, reason):
    utterances, ((line, found),) = listed(recording.parent, {}, row)
    assert len(utterances) == 1
    assert line == 2
    assert reason in found


def test_samples_are_those_of_the_files_rate(tmp_path):
    soundfile.write(tmp_path / "talk.wav", np.zeros(4 * 48_000, dtype=np.float32), 48_000)
    (utterance,), _ = listed(tmp_path, {"start_samples": 48_000, "end_samples": 96_000})
    assert (utterance.start, utterance.stop, utterance.samples) == (1.0, 2.0, RATE)
    assert len(load_audio(utterance, RATE)) == RATE


def test_parts_of_a_file_are_different_utterances(recording, tmp_path):
    rows = [{"start": 0, "end": 1}, {"start": 1, "end": 2.125}, {"start": 0.1, "end": 1 / 3}, {}]
    utterances, rejections = listed(tmp_path, *rows, {"start": 1, "duration": 1.125}, {"duration": 4})
    assert [u.utterance for u in utterances] == ["talk-0.0-1.0", "talk-1.0-2.125", f"talk-0.1-{1 / 3}", "talk"]
    assert rejections == [(5, "the same audio is on line 2 too"), (6, "the same audio is on line 4 too")]
    assert len({u.key for u in utterances}) == 4
    write_table(tmp_path / "utterances.tsv", table_of(utterances, Utterance))
    assert read_utterances(tmp_path / "utterances.tsv") == utterances
    scored = score(utterances, {u.key: "A" if u.start else "B" for u in utterances})
    assert scored.errors.tolist() == [1, 0, 0, 1]


def test_utterances_keep_the_names_that_the_corpus_gives(recording, tmp_path):
    (tmp_path / "wav.scp").write_text("rec talk.wav\n")
    (tmp_path / "segments").write_text("anna-1 rec 0 1\nanna-2 rec 1 -1\n")
    (tmp_path / "text").write_text("anna-1 A\nanna-2 \n")
    (tmp_path / "utt2spk").write_text("anna-1 anna\nanna-2 anna\n")
    utterances, rejections = list_utterances(read_manifest(tmp_path / "wav.scp"), FRONT_END)
    assert [(u.utterance, u.speaker, u.start, u.stop) for u in utterances] == [("anna-1", "anna", 0.0, 1.0)]
    assert [(r.line, r.reason) for r in rejections] == [(2, "the transcript is empty")]


def test_parts_of_one_recording_may_lie_in_both_splits_if_they_do_not_meet(recording, tmp_path):
    (first, second, across, whole), _ = listed(
        tmp_path, {"start": 0, "end": 1}, {"start": 1, "end": 2}, {"start": 0.5, "end": 1.5}, {}
    )
    check_disjoint([first], [second])
    for shared in (first, across, whole):
        with pytest.raises(StableQuantError, match="the calibration split holds the same audio"):
            check_disjoint([second, first], [shared])


def test_files_that_have_not_the_duration_of_the_manifest_are_named_once(recording, caplog):
    listed(recording.parent, {"offset": 0, "duration": 3.0}, {"duration": 6.5}, {"offset": 1.0, "duration": 1.0})
    assert [r.getMessage() for r in caplog.records] == [
        f"1 files are longer than the duration that the manifest gives, such as {recording}: "
        "only that much of them is read",
        f"1 files are shorter than the duration that the manifest gives, such as {recording}: is their audio complete?",
    ]


def test_a_duration_without_a_start_names_no_segment(recording, caplog):
    (utterance,), rejections = listed(recording.parent, {"duration": 3.0})
    assert not rejections
    assert (utterance.start, utterance.stop, utterance.samples) == (None, None, 4 * RATE)
    (warning,) = [r.getMessage() for r in caplog.records]
    assert (
        warning.startswith("1 files are longer than the duration that the manifest gives") and "to the end" in warning
    )


def test_speech_that_lies_in_a_longer_recording_is_heard_as_if_alone(tmp_path):
    """Three utterances in one file, at another rate than the recogniser's: each is as long as before."""
    speech = write_librispeech(tmp_path)[:3]
    pieces = [soundfile.read(file, dtype="float32")[0] for file in speech]
    ends = np.cumsum([len(piece) for piece in pieces]) / RATE
    soundfile.write(tmp_path / "long.flac", np.concatenate(pieces), RATE)
    rows = zip([0.0, *ends], ends, expected(speech), strict=False)
    lines = [f"long.flac;{start};{end};{text}" for start, end, text in rows]
    (tmp_path / "long.csv").write_text("\n".join(["file;start;end;text", *lines]) + "\n")
    utterances, rejections = list_utterances(read_manifest(tmp_path / "long.csv"), FRONT_END)
    assert not rejections
    for utterance, piece, text in zip(utterances, pieces, expected(speech), strict=True):
        assert utterance.transcript == text
        assert np.abs(load_audio(utterance, RATE) - piece).max() < 1e-4


@pytest.mark.parametrize("name", ["clip_start", "frameOffset", "t_end", "onset_frame", "audio-begin"])
def test_a_name_that_sounds_like_a_place_is_suspicious(name):
    assert may_cut(name)
    assert role_of(name) is None


@pytest.mark.parametrize("name", ["client_id", "age", "locale", "segment", "weekend", "friend", "start", "endSeconds"])
def test_other_names_are_not(name):
    assert not may_cut(name)


def test_units_of_a_part_hold_for_the_whole_row():
    assert part_of({"start_samples": "8", "duration_samples": "8"}, ["start_samples", "duration_samples"]) == Part(
        8, None, 8, in_samples=True
    )
    assert part_of({"start": " "}, ["start"]) is None
    assert seconds_of(Part(8, None, 8, in_samples=True), 64, 8) == (1.0, 2.0)
    with pytest.raises(RowError, match="outside"):
        seconds_of(Part(8, None, 80, in_samples=True), 64, 8)


def test_the_demo_says_who_speaks():
    utterances, _ = list_utterances(read_manifest(PROJECT / "tsv/demo-evaluation.tsv"), FRONT_END)
    assert {u.speaker for u in utterances} == {str(number) for number in range(101, 110)}
    assert all(u.start is None and u.key == u.path for u in utterances)
