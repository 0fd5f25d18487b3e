"""Manifests of a folder of audio, by one command."""

import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from checkout import PROJECT
from listing import FRONT_END, expected, listed, write_speech

from stablequant.corpora.formats.mpeg import frame_at
from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import read_manifest
from stablequant.corpora.write_manifest import manifest_of
from stablequant.errors import StableQuantError


def write_manifests(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "stablequant.corpora.write_manifest", *map(str, arguments)]
    environment = {"PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_one_command_makes_the_manifests_of_librispeech(tmp_path, speech):
    write_speech(tmp_path / "LibriSpeech/test-clean", tmp_path / "unused.tsv", 3, "evaluation")
    (tmp_path / "LibriSpeech/README.TXT").write_text("as in the real one")
    done = write_manifests(tmp_path / "LibriSpeech", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "tsv/dev-clean.tsv: 4 utterances\ntsv/test-clean.tsv: 3 utterances\n"
    assert sorted(listed(tmp_path / "tsv/dev-clean.tsv")) == sorted(expected(speech))
    assert (tmp_path / "tsv/test-clean.tsv").read_text().startswith(f"{tmp_path}/LibriSpeech/test-clean\n")
    done = write_manifests(tmp_path / "LibriSpeech/dev-clean", "--into", "elsewhere", folder=tmp_path)
    assert (tmp_path / "elsewhere/dev-clean.tsv").read_text() == (tmp_path / "tsv/dev-clean.tsv").read_text()


def test_a_faulty_corpus_is_named_and_nothing_is_written(tmp_path, speech):
    speech[1].write_bytes(b"not audio")
    done = write_manifests(tmp_path / "LibriSpeech", "--into", "new", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"{speech[1]}: damaged or not audio")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "new").exists()
    assert "no audio" in write_manifests(tmp_path / "tsv", folder=tmp_path).stderr
    assert "not a directory" in write_manifests(tmp_path / "absent", folder=tmp_path).stderr


def test_lengths_are_of_the_decoded_samples(tmp_path):
    """libsndfile estimates the length of an MP3 without a tag, and takes what a header states."""
    samples = soundfile.read(PROJECT / "resources/demo/speech/evaluation/101/1/101-1-0000.flac")[0]
    soundfile.write(tmp_path / "a.mp3", samples, 16_000, bitrate_mode="VARIABLE")
    content = (tmp_path / "a.mp3").read_bytes()
    tag = frame_at(content, 0)
    assert tag is not None
    (tmp_path / "a.mp3").write_bytes(content[tag.bytes :])
    frames = len(samples) // 576 + 3  # and the delay of the encoder
    assert soundfile.info(tmp_path / "a.mp3").frames != 576 * frames
    assert manifest_of(tmp_path) == f"{tmp_path}\na.mp3\t{576 * frames}\n"


def test_the_manifest_of_a_folder_is_fairseqs():
    written = manifest_of(Path("resources/demo/speech/evaluation"))
    assert written == (PROJECT / "tsv/demo-evaluation.tsv").read_text()


def test_a_file_that_cannot_be_read_is_rejected_with_its_reason_where_that_is_wanted(tmp_path, speech):
    speech[1].write_bytes(speech[1].read_bytes()[: speech[1].stat().st_size // 2])
    root = tmp_path / "LibriSpeech/dev-clean"
    with pytest.raises(StableQuantError, match=rf"{speech[1].name}: cut off"):
        manifest_of(root)
    (tmp_path / "split.tsv").write_text(manifest_of(root, keep_unreadable=True))
    utterances, (rejection,) = list_utterances(read_manifest(tmp_path / "split.tsv"), FRONT_END)
    assert [u.path for u in utterances] == [str(file) for file in speech if file != speech[1]]
    assert rejection.path == str(speech[1].relative_to(root))
    assert rejection.reason.startswith("cut off")
