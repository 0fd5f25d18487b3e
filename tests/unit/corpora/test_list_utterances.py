"""Audio and transcripts: what is good passes, each fault is named with its place and its remedy."""

import json
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from listing import FRONT_END, listed, write_jsonl, write_speech

from stablequant.corpora.entries import Rejection
from stablequant.corpora.list_utterances import (
    DrawnPart,
    check_part,
    check_rejections,
    describe_rejections,
    list_utterances,
    speaker_in,
)
from stablequant.corpora.manifests import read_manifest
from stablequant.corpora.utterance import load_audio
from stablequant.errors import StableQuantError


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scramble(path: Path) -> None:
    path.write_bytes(b"not audio at all" * 100)


def widen(path: Path) -> None:
    samples, rate = soundfile.read(path)
    soundfile.write(path, np.stack([samples, np.zeros_like(samples)], axis=1), rate)


def shorten(path: Path) -> None:
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples[:-1000], rate)


def silence_transcript(path: Path) -> None:
    for file in path.parent.glob("*.trans.txt"):
        kept = [line for line in file.read_text().splitlines() if not line.startswith(path.stem)]
        file.write_text("\n".join(kept) + "\n")


def link_to_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("../../blobs/0a1b")


def replace_by_a_web_page(path: Path) -> None:
    path.write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (delete, "does not exist"),
        (truncate, r"cut off: \d+ of \d+ samples are there \(\d+ %\)"),
        (scramble, "damaged or not audio"),
        (shorten, "the manifest says"),
        (silence_transcript, "no transcript"),
        (link_to_nowhere, r"a link to '\.\./\.\./blobs/0a1b', which is not here"),
        (replace_by_a_web_page, "a web page, not audio"),
    ],
)
def test_an_unusable_utterance_is_listed_with_the_reason(tmp_path, damage, reason):
    files = write_speech(tmp_path / "speech", tmp_path / "manifest.tsv", 4)
    damage(files[2])
    utterances, rejections = list_utterances(read_manifest(tmp_path / "manifest.tsv"), FRONT_END)
    assert len(utterances) == 3
    assert [r.line for r in rejections] == [4]
    with pytest.raises(StableQuantError, match=reason) as refusal:
        check_rejections(tmp_path / "manifest.tsv", rejections, 4, 0, tmp_path / "rejected.tsv")
    assert files[2].name in str(refusal.value)
    check_rejections(tmp_path / "manifest.tsv", rejections, 4, 0.25, tmp_path / "rejected.tsv")


def test_audio_without_a_transcript_is_not_decoded(tmp_path, monkeypatch):
    """A corpus may take hours."""
    files = write_speech(tmp_path / "speech", tmp_path / "manifest.tsv", 4)
    files[0].unlink()
    for file in {transcripts for f in files for transcripts in f.parent.glob("*.trans.txt")}:
        file.unlink()
    monkeypatch.setattr("stablequant.corpora.list_utterances.read_audio", None)
    utterances, rejections = list_utterances(read_manifest(tmp_path / "manifest.tsv"), FRONT_END)
    assert not utterances
    assert [r.reason.split(" for ")[0] for r in rejections] == ["the file does not exist", *["no transcript"] * 3]


def test_audio_of_several_channels_is_mixed_with_one_warning(tmp_path, caplog):
    files = write_speech(tmp_path / "speech", tmp_path / "manifest.tsv", 4)
    mono = [soundfile.read(file, dtype="float32")[0] for file in files]
    for file in files[1:]:
        widen(file)
    utterances, rejections = list_utterances(read_manifest(tmp_path / "manifest.tsv"), FRONT_END)
    assert not rejections
    assert [r.getMessage() for r in caplog.records] == ["3 files with 2 channels are mixed to one"]
    for mixed, samples in zip(utterances, mono, strict=True):
        assert np.allclose(load_audio(mixed, 16_000), samples / (1 if mixed is utterances[0] else 2))


def test_audio_whose_header_is_wrong_is_read_to_its_end_with_one_warning(tmp_path, caplog):
    files = write_speech(tmp_path / "speech", tmp_path / "manifest.tsv", 4)
    lengths = [soundfile.info(file).frames for file in files]
    for file in files[:2]:
        content = bytearray(file.read_bytes())
        content[21:26] = (content[21] >> 4 << 36).to_bytes(5)  # as written to a pipe: 0 samples
        file.write_bytes(content)
    utterances, rejections = list_utterances(read_manifest(tmp_path / "manifest.tsv"), FRONT_END)
    assert not rejections
    assert [u.samples for u in utterances] == lengths
    note = "no length or a wrong one in the header; decoded to the end"
    assert [r.getMessage() for r in caplog.records] == [f"2 files: {note}"]


def test_links_into_a_cache_are_followed(tmp_path):
    """As Hugging Face, DVC and git-annex store data sets."""
    files = write_speech(tmp_path / "set/speech", tmp_path / "set/manifest.tsv", 4)
    before, _ = list_utterances(read_manifest(tmp_path / "set/manifest.tsv"), FRONT_END)
    (tmp_path / "blobs").mkdir()
    for number, file in enumerate(files):
        file.rename(tmp_path / f"blobs/{number}")
        file.symlink_to(tmp_path / f"blobs/{number}")
    assert list_utterances(read_manifest(tmp_path / "set/manifest.tsv"), FRONT_END) == (before, [])


@pytest.mark.parametrize(("listed", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_another_unicode_form_are_found(tmp_path, listed, stored):
    """A manifest written on macOS, whose file system decomposes letters, and files on Linux, or the other way round."""
    name = "\u00e9t\u00e9/d\u00e9j\u00e0"
    [file] = write_speech(tmp_path / "speech", tmp_path / "unused.tsv", 1)
    target = tmp_path / "speech" / (unicodedata.normalize(stored, name) + ".flac")
    target.parent.mkdir()
    file.rename(target)
    entry = unicodedata.normalize(listed, name)
    (tmp_path / "m.tsv").write_text(f"{tmp_path}/speech\n{entry}.flac\t{soundfile.info(target).frames}\n")
    (target.parent / "x.trans.txt").write_text(f"{Path(entry).name} SHE HAD\n")
    [utterance], rejections = list_utterances(read_manifest(tmp_path / "m.tsv"), FRONT_END)
    assert not rejections
    assert utterance.path == str(target)
    assert utterance.transcript == "SHE HAD"
    (tmp_path / "m.tsv").write_text(f"{tmp_path}/speech\n{entry}.wav\t1\n")
    _, [rejection] = list_utterances(read_manifest(tmp_path / "m.tsv"), FRONT_END)
    assert (rejection.path, rejection.reason) == (f"{entry}.wav", "the file does not exist")


def test_namesakes_are_told_apart_by_their_folders(tmp_path):
    """As in TIMIT, where every speaker has a SA1."""
    files = write_speech(tmp_path / "speech", tmp_path / "unused.tsv", 3)
    listed = []
    for file, name in zip(files, ("speaker1/SA1", "speaker2/SA1", "speaker2/SA2"), strict=True):
        target = tmp_path / "corpus" / f"{name}.flac"
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
        listed.append({"path": f"{name}.flac", "text": "she had"})
    (tmp_path / "corpus/split.jsonl").write_text("".join(json.dumps(row) + "\n" for row in listed))
    utterances, rejections = list_utterances(read_manifest(tmp_path / "corpus/split.jsonl"), FRONT_END)
    assert not rejections
    assert [u.utterance for u in utterances] == ["speaker1/SA1.flac", "speaker2/SA1.flac", "SA2"]


def test_a_split_is_never_all_rejected():
    rejections = [Rejection(2, "a.flac", "gone")]
    with pytest.raises(StableQuantError):
        check_rejections(Path("m.tsv"), rejections, 1, 1.0, Path("r.tsv"))


def test_audio_that_is_too_short_for_the_recogniser_is_rejected(tmp_path):
    """A recogniser with more convolutions needs more samples for its first frame."""
    soundfile.write(tmp_path / "a.wav", np.ones(719, dtype=np.float32) / 2, 16_000)
    (tmp_path / "split.jsonl").write_text('{"audio_filepath": "a.wav", "text": "A"}\n')
    manifest = read_manifest(tmp_path / "split.jsonl")
    [utterance], _ = list_utterances(manifest, FRONT_END)
    assert utterance.samples == 719
    utterances, [rejection] = list_utterances(manifest, replace(FRONT_END, shortest_samples=720))
    assert not utterances
    assert rejection == Rejection(1, "a.wav", "719 samples are too few, a frame needs 720")


@pytest.mark.parametrize("suffix", ["wav", "ogg", "mp3"])
def test_other_formats_and_rates_are_heard_alike(tmp_path, speech, suffix, caplog):
    """Against the audio before it went through another rate and a lossy format."""
    original, _ = list_utterances(read_manifest(tmp_path / "tsv/dev-clean.tsv"), FRONT_END)
    lines = []
    for file in speech:
        samples, _ = soundfile.read(file)
        other = file.with_suffix(f".{suffix}")
        soundfile.write(other, soxr.resample(samples, 16_000, 48_000), 48_000)
        lines.append(f"{other.relative_to(tmp_path)}\t{soundfile.info(other).frames}")
    (tmp_path / "other.tsv").write_text("\n".join([str(tmp_path), *lines]) + "\n")
    utterances, rejections = list_utterances(read_manifest(tmp_path / "other.tsv"), FRONT_END)
    assert not rejections
    assert [r.getMessage() for r in caplog.records] == ["4 files at 48000 Hz are resampled to 16000 Hz"]
    for heard, first in zip(utterances, original, strict=True):
        assert abs(heard.samples - first.samples) <= (0.1 * 16_000 if suffix == "mp3" else 1)
        if suffix == "wav":
            resampled, recorded = (FRONT_END.prepare(load_audio(u, 16_000)) for u in (heard, first))
            assert (resampled - recorded).std() < 0.05, "the signal's own deviation is 1"


def test_letters_that_the_recogniser_cannot_write_are_named_once(tmp_path, speech, caplog):
    manifest = write_jsonl(tmp_path, speech)
    manifest.write_text(manifest.read_text().replace('"text": "', '"text": "4 \\u00e9t\\u00e9s '))
    listed(manifest)
    assert [r.getMessage() for r in caplog.records] == [
        "characters outside the vocabulary, counted as errors: \u00c9 (8) 4 (4)"
    ]


def test_what_is_left_out_or_replaced_is_counted_once_for_the_split(tmp_path, speech, caplog):
    manifest = write_jsonl(tmp_path, speech)
    manifest.write_text(manifest.read_text().replace('"text": "', '"text": "\\u201cDon\\u2019t\\u201d, \\u200b'))
    with caplog.at_level("INFO"):
        texts = listed(manifest)
    assert all(text.startswith("DON'T ") for text in texts)
    (message,) = [record.getMessage() for record in caplog.records]
    counts, example = message.split("; such as ")
    assert counts == "left out of transcripts, or replaced: \u201c (4) \u2019 (4) \u201d (4) , (4) U+200B (4)"
    assert example.startswith("'\u201cDon\u2019t\u201d, \u200b") and f"now '{texts[0][:80]}'" in example


def test_of_transcripts_that_stay_as_they_are_nothing_is_said(tmp_path, speech, caplog):
    with caplog.at_level("INFO"):
        listed(write_jsonl(tmp_path, speech))
    assert not caplog.records


def test_a_clip_that_is_listed_twice_and_a_row_without_a_sentence_count_as_any_fault(tmp_path):
    files = write_speech(tmp_path / "speech", tmp_path / "manifest.tsv", 4)
    rows = [f"{file};HELLO" for file in files] + [f"{files[1]};HELLO"]
    rows[2] = f"{files[2]};"
    (tmp_path / "split.csv").write_text("\n".join(["path;text", *rows]) + "\n")
    utterances, rejections = list_utterances(read_manifest(tmp_path / "split.csv"), FRONT_END)
    assert len(utterances) == 3
    assert [(r.line, r.reason) for r in rejections] == [
        (4, "no value in a column named text"),
        (6, "the same audio is on line 3 too"),
    ]
    check_rejections(tmp_path / "split.csv", rejections, 5, 0.4, tmp_path / "rejected.tsv")
    with pytest.raises(StableQuantError, match=r"split\.csv, line 4: .*2 of 5 utterances rejected"):
        check_rejections(tmp_path / "split.csv", rejections, 5, 0.3, tmp_path / "rejected.tsv")


def test_rows_are_a_share_of_the_manifest_where_only_a_part_is_heard(tmp_path):
    files = write_speech(tmp_path / "speech", tmp_path / "manifest.tsv", 4)
    rows = [f"{file};HELLO" for file in files] + ["x.flac;"] * 2
    (tmp_path / "split.csv").write_text("\n".join(["path;text", *rows]) + "\n")
    manifest = read_manifest(tmp_path / "split.csv")
    utterances, rejections = list_utterances(manifest, FRONT_END, DrawnPart(seconds=0.001, seed=0))
    assert (len(utterances), len(rejections)) == (1, 2)
    check_part(manifest, 1, rejections, 0.4, tmp_path / "rejected.tsv")
    with pytest.raises(StableQuantError, match=r"split\.csv, line 6: .*2 of 6 utterances rejected"):
        check_part(manifest, 1, rejections, 0.3, tmp_path / "rejected.tsv")
    heard = [*rejections, Rejection(2, "y.flac", "damaged")]
    with pytest.raises(StableQuantError, match=r"split\.csv, line 2: .*1 of 2 utterances rejected"):
        check_part(manifest, 1, heard, 0.4, tmp_path / "rejected.tsv")


def test_twenty_thousand_rejections_are_told_in_a_few_lines():
    rejections = [Rejection(n, f"{n}.flac", f"{n} samples are too few") for n in range(1, 19_998)]
    rejections += [Rejection(19_998 + n, f"x{n}.flac", f"the cell 'a{n}' is below no column") for n in range(2)]
    assert describe_rejections(Path("m.csv"), rejections, 20_005) == [
        "m.csv: 19999 of 20005 utterances rejected",
        "  19997 times: ... samples are too few",
        "  2 times: the cell ... is below no column",
        *(f"  line {n}: '{n}.flac': {n} samples are too few" for n in range(1, 6)),
        "  and 19994 more",
    ]
    assert describe_rejections(Path("m.csv"), rejections[:1], 2)[1:] == [
        "  1 times: ... samples are too few",
        "  line 1: '1.flac': 1 samples are too few",
    ]


@pytest.mark.parametrize(
    ("path", "speaker"),
    [
        ("/data/LibriSpeech/dev-clean/84/121123/84-121123-0000.flac", "84"),
        ("/data/mls_german/dev/audio/1649/1081/1649_1081_000000.flac", "1649"),
        ("84/121123/84-121123-0000.flac", "84"),
        ("/data/84-121123-0000.flac", None),
        ("/data/84/121124/84-121123-0000.flac", None),
        ("/data/clips/common_voice_en_1.mp3", None),
    ],
)
def test_folders_as_librispeechs_say_who_speaks(path, speaker):
    assert speaker_in(Path(path)) == speaker


@pytest.mark.parametrize(("one", "other"), [("a.flac", "./a.flac"), ("\u00e9.flac", "e\u0301.flac")])
def test_two_ways_to_write_a_name_are_one_file(tmp_path, one, other):
    (file,) = write_speech(tmp_path / "speech", tmp_path / "manifest.tsv", 1)
    shutil.copyfile(file, tmp_path / one)
    (tmp_path / "split.csv").write_text(f"path,text\n{one},HELLO\n{other},HELLO\n", encoding="utf-8")
    utterances, rejections = list_utterances(read_manifest(tmp_path / "split.csv"), FRONT_END)
    assert len(utterances) == 1
    assert [(r.line, r.reason) for r in rejections] == [(3, "the same audio is on line 2 too")]


def test_of_a_large_split_a_drawn_part_is_used_in_the_order_of_the_manifest(tmp_path, caplog):
    caplog.set_level("INFO")
    files = write_speech(tmp_path / "speech", tmp_path / "split.tsv", 12)
    manifest = read_manifest(tmp_path / "split.tsv")
    lengths = {file: soundfile.info(file).duration for file in map(str, files)}
    parts = [list_utterances(manifest, FRONT_END, DrawnPart(8.0, seed))[0] for seed in (0, 0, 1, 2)]
    for part in parts:
        seconds = sum(lengths[u.path] for u in part)
        assert 8.0 <= seconds < 8.0 + max(lengths.values())
        assert [u.path for u in part] == [file for file in lengths if file in {u.path for u in part}]
    assert parts[0] == parts[1]
    assert len({tuple(part) for part in parts}) > 1, "another seed draws others"
    assert f"using {len(parts[0])} of 12 utterances" in caplog.text and "drawn with seed 0" in caplog.text
    whole, _ = list_utterances(manifest, FRONT_END, DrawnPart(1e6, 0))
    assert whole == list_utterances(manifest, FRONT_END)[0]
    files[0].unlink()  # what is not heard is not judged, and what is heard and damaged is told
    _, rejected = list_utterances(manifest, FRONT_END, DrawnPart(1e6, 0))
    assert [r.line for r in rejected] == [2]
