"""Manifests: fairseq's, their roots, folders of audio, and what both splits hold."""

from pathlib import Path

import pytest
import soundfile
from listing import expected, listed

from stablequant.corpora.entries import Manifest, ManifestEntry
from stablequant.corpora.folders import list_folder
from stablequant.corpora.manifests import check_apart, read_manifest
from stablequant.errors import StableQuantError


@pytest.mark.parametrize(
    ("text", "place", "fault"),
    [
        ("", "line 1", "no root"),
        ("/nowhere/at/all\na.flac\t1\n", "line 1", "not a directory"),
        ("{root}\n", "manifest.tsv", "empty"),
        ("{root}\na.flac sixteen\n", "line 2", "path TAB samples"),
        ("a.flac\t16000\n", "line 1", "no root"),
        ("{root}\n../a.flac\t16000\n", "line 2", "is outside the root"),
        ("{root}\n/etc/a.flac\t16000\n", "line 2", "is outside the root"),
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


@pytest.mark.parametrize(
    "first",
    ["{root}\n", "\n{root}\n", "\n\n{root} # Modify this path\n", "{root}/\n", "\ufeff{root}\n"],
    ids=["plain", "blank first line", "with a remark", "slash", "byte order mark"],
)
@pytest.mark.parametrize("separator", ["\t", " "], ids=["tab", "as printed"])
def test_stablequants_own_manifest_works_as_it_is(tmp_path, speech, first, separator):
    root = tmp_path / "LibriSpeech/dev-clean"
    lines = [f"{file.relative_to(root)}{separator}{soundfile.info(file).frames}" for file in speech]
    (tmp_path / "test.tsv").write_text(first.format(root=root) + "\n".join(lines) + "\n")
    assert listed(tmp_path / "test.tsv") == expected(speech)


def test_a_manifest_made_elsewhere_finds_its_audio_here(tmp_path, speech):
    manifest = tmp_path / "tsv/dev-clean.tsv"
    manifest.write_text(manifest.read_text().replace(str(tmp_path), "/data/somebody"))
    with pytest.raises(StableQuantError, match=r"line 1: the root '/data/somebody.*' is not a directory"):
        read_manifest(manifest)
    assert listed(manifest, audio_root=tmp_path / "LibriSpeech/dev-clean") == expected(speech)
    with pytest.raises(StableQuantError, match="'audio_root': the root '/nowhere' is not a directory"):
        read_manifest(manifest, audio_root=Path("/nowhere"))


def test_a_relative_root_is_found_around_the_manifest_unless_it_is_in_the_working_directory(tmp_path, monkeypatch):
    for folder in ("project/tsv", "project/speech", "elsewhere/speech"):
        (tmp_path / folder).mkdir(parents=True)
    manifest = tmp_path / "project/tsv/a.tsv"
    manifest.write_text("speech\na.wav\t16000\n")
    monkeypatch.chdir(tmp_path)
    assert read_manifest(manifest).root == tmp_path / "project/speech"
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_manifest(manifest).root.resolve() == tmp_path / "elsewhere/speech"


def test_audio_in_both_splits_is_found_by_its_path(tmp_path):
    for name in ("a.wav", "b.wav", "x.trans.txt", "c/d.wav", "c/y.trans.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    whole, part = list_folder(tmp_path), list_folder(tmp_path / "c")
    assert [entry.path for entry in whole.entries] == ["a.wav", "b.wav", "c/d.wav"]
    with pytest.raises(StableQuantError, match=r"^evaluation: 1 of its 1 audio files are in .* too, such as 'd\.wav'"):
        check_apart(whole, part, "evaluation")
    rest = Manifest(tmp_path, [ManifestEntry(1, "a.wav", 5, "A"), ManifestEntry(2, "b.wav")])
    check_apart(rest, part, "evaluation")
    with pytest.raises(StableQuantError, match="2 of its 3 audio files"):
        check_apart(rest, whole, "evaluation")
