"""Manifests, audio and transcripts: what is good passes, each fault is named with its place and its remedy."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import DEMO, PROJECT, write_speech

from stablequant.corpora.list_utterances import Rejection, check_apart, check_rejections, list_utterances
from stablequant.corpora.manifests import read_manifest
from stablequant.errors import StableQuantError
from stablequant.recognisers.batches import load_batch
from stablequant.recognisers.ctc.front_end import FrontEnd, read_front_end


def test_the_demos_splits_are_whole():
    splits = {}
    for split in ("calibration", "evaluation"):
        manifest = read_manifest(PROJECT / f"tsv/demo-{split}.tsv")
        splits[split], rejections = list_utterances(manifest, read_front_end(DEMO))
        assert not rejections
    assert len(splits["calibration"]) >= 150
    assert len(splits["evaluation"]) >= 300
    assert sum(len(u.transcript.split()) for u in splits["evaluation"]) >= 2000
    sentences = {split: {u.transcript for u in utterances} for split, utterances in splits.items()}
    assert not sentences["calibration"] & sentences["evaluation"]
    flac = sum(f.stat().st_size for f in (PROJECT / "resources/demo/speech").rglob("*.flac"))
    weights = (PROJECT / "resources/demo/model/model.safetensors").stat().st_size
    assert flac <= 25e6
    assert weights <= 25e6


@pytest.mark.parametrize(
    ("text", "place", "fault"),
    [
        ("", "line 1", "no root"),
        ("/nowhere/at/all\na.flac\t1\n", "line 1", "not a directory"),
        ("{root}\n", "manifest.tsv", "empty"),
        ("{root}\na.flac sixteen\n", "line 2", "path TAB samples"),
        ("a.flac\t16000\n", "line 1", "no root"),
        ("{root}\na.flac\t16000\na.flac\t16000\n", "line 3", "line 2 too"),
        ("{root}\n../a.flac\t16000\n", "line 2", "leaves the root"),
        ("{root}\n/etc/a.flac\t16000\n", "line 2", "leaves the root"),
    ],
)
def test_faulty_manifests_are_refused(tmp_path, text, place, fault):
    manifest = tmp_path / "manifest.tsv"
    manifest.write_text(text.format(root=tmp_path))
    with pytest.raises(StableQuantError, match=fault) as refusal:
        read_manifest(manifest)
    assert str(manifest) in str(refusal.value)
    assert place in str(refusal.value)
    assert ";" in str(refusal.value), "no remedy"


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(StableQuantError, match=r"absent\.tsv"):
        read_manifest(tmp_path / "absent.tsv")


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scramble(path: Path) -> None:
    path.write_bytes(b"not audio at all" * 100)


def widen(path: Path) -> None:
    samples, rate = soundfile.read(path)
    soundfile.write(path, np.stack([samples, samples], axis=1), rate)


def shorten(path: Path) -> None:
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples[:-1000], rate)


def silence_transcript(path: Path) -> None:
    for file in path.parent.glob("*.trans.txt"):
        kept = [line for line in file.read_text().splitlines() if not line.startswith(path.stem)]
        file.write_text("\n".join(kept) + "\n")


def link_outside(path: Path) -> None:
    outside = path.parents[3] / "outside.flac"
    path.rename(outside)
    path.symlink_to(outside)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (delete, "does not exist"),
        (truncate, "truncated|damaged"),
        (scramble, "damaged or not audio"),
        (widen, "2 channels"),
        (shorten, "the manifest says"),
        (silence_transcript, "no transcript"),
        (link_outside, "out of the root"),
    ],
)
def test_an_unusable_utterance_is_listed_with_the_reason(tmp_path, damage, reason):
    files = write_speech(tmp_path / "speech", tmp_path / "manifest.tsv", 4)
    damage(files[2])
    utterances, rejections = list_utterances(read_manifest(tmp_path / "manifest.tsv"), read_front_end(DEMO))
    assert len(utterances) == 3
    assert [r.line for r in rejections] == [4]
    with pytest.raises(StableQuantError, match=reason) as refusal:
        check_rejections(tmp_path / "manifest.tsv", rejections, 4, 0, tmp_path / "rejected.tsv")
    assert files[2].name in str(refusal.value)
    check_rejections(tmp_path / "manifest.tsv", rejections, 4, 0.25, tmp_path / "rejected.tsv")


def test_audio_of_the_calibration_split_judges_nothing(demo_utterances):
    calibration, evaluation = demo_utterances[:3], demo_utterances[3:6]
    check_apart(calibration, evaluation)
    renamed = replace(calibration[1], utterance="another", path="/elsewhere/another.flac")
    with pytest.raises(StableQuantError) as refusal:
        check_apart(calibration, [*evaluation, renamed])
    assert str(refusal.value) == (
        f"/elsewhere/another.flac: the calibration split holds the same audio, {calibration[1].path} "
        "(1 of 4 evaluation utterances are such); leave them out of one of the splits"
    )


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
    utterances, rejections = list_utterances(read_manifest(tmp_path / "corpus/split.jsonl"), read_front_end(DEMO))
    assert not rejections
    assert [u.utterance for u in utterances] == ["speaker1/SA1.flac", "speaker2/SA1.flac", "SA2"]


def test_a_split_is_never_all_rejected():
    rejections = [Rejection(2, "a.flac", "gone")]
    with pytest.raises(StableQuantError):
        check_rejections(Path("m.tsv"), rejections, 1, 1.0, Path("r.tsv"))


def test_normalised_like_transformers(demo, demo_utterances):
    from transformers import Wav2Vec2FeatureExtractor

    batch = [u for u in demo_utterances if u.samples == demo_utterances[0].samples][:3]
    raw = load_batch(batch, FrontEnd(16_000, False, demo.front_end.vocabulary))
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(demo.folder)
    expected = extractor(list(raw), sampling_rate=16_000, return_tensors="np").input_values
    assert np.allclose(load_batch(batch, demo.front_end), expected, atol=1e-4)


def invert(path: Path) -> None:
    samples, rate = soundfile.read(path)
    soundfile.write(path, -samples, rate)


@pytest.mark.parametrize("change", [shorten, invert])
def test_audio_that_changed_after_listing_is_refused(tmp_path, change):
    files = write_speech(tmp_path / "speech", tmp_path / "manifest.tsv", 2)
    utterances, _ = list_utterances(read_manifest(tmp_path / "manifest.tsv"), read_front_end(DEMO))
    change(files[0])
    with pytest.raises(StableQuantError, match="changed since"):
        load_batch(utterances[:1], read_front_end(DEMO))


def test_the_manifest_of_a_folder_is_fairseqs():
    from stablequant.corpora.write_manifest import manifest_of

    written = manifest_of(Path("resources/demo/speech/evaluation"))
    assert written == (PROJECT / "tsv/demo-evaluation.tsv").read_text()
