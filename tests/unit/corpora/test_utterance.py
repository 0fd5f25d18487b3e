"""Utterances between the listing and the search: no audio in both splits, none that changed meanwhile."""

from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from listing import FRONT_END, write_speech

from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import read_manifest
from stablequant.corpora.utterance import check_disjoint, load_audio
from stablequant.errors import StableQuantError


def test_audio_of_the_calibration_split_judges_nothing(demo_utterances):
    calibration, evaluation = demo_utterances[:3], demo_utterances[3:6]
    check_disjoint(calibration, evaluation)
    renamed = replace(calibration[1], utterance="another", path="/elsewhere/another.flac")
    with pytest.raises(StableQuantError) as refusal:
        check_disjoint(calibration, [*evaluation, renamed])
    assert str(refusal.value) == (
        f"/elsewhere/another.flac: the calibration split holds the same audio, {calibration[1].path} "
        "(1 of 4 evaluation utterances are such); leave them out of one of the splits"
    )


def shorten(path: Path) -> None:
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples[:-1000], rate)


def invert(path: Path) -> None:
    samples, rate = soundfile.read(path)
    soundfile.write(path, -samples, rate)


@pytest.mark.parametrize("change", [shorten, invert])
def test_audio_that_changed_after_listing_is_refused(tmp_path, change):
    files = write_speech(tmp_path / "speech", tmp_path / "manifest.tsv", 2)
    utterances, _ = list_utterances(read_manifest(tmp_path / "manifest.tsv"), FRONT_END)
    change(files[0])
    with pytest.raises(StableQuantError, match=rf"{files[0].name}: the audio changed since it was listed; restore it"):
        load_audio(utterances[0], 16_000)


def test_audio_that_is_gone_after_listing_is_named_with_the_remedy(tmp_path):
    files = write_speech(tmp_path / "speech", tmp_path / "manifest.tsv", 2)
    utterances, _ = list_utterances(read_manifest(tmp_path / "manifest.tsv"), FRONT_END)
    files[0].unlink()
    with pytest.raises(StableQuantError, match=rf"{files[0].name}: the file does not exist; restore the file, or list"):
        load_audio(utterances[0], 16_000)


def test_audio_is_loaded_at_the_rate_that_is_asked_for(tmp_path):
    files = write_speech(tmp_path / "speech", tmp_path / "manifest.tsv", 1)
    [utterance], _ = list_utterances(read_manifest(tmp_path / "manifest.tsv"), FRONT_END)
    samples, rate = soundfile.read(files[0], dtype="float32")
    assert rate == 16_000
    assert (load_audio(utterance, 16_000) == samples).all()
    assert len(load_audio(utterance, 8_000)) == pytest.approx(len(samples) / 2, abs=1)
