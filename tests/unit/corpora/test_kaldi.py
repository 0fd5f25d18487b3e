"""Kaldi's folders."""

from pathlib import Path

import pytest

from stablequant.corpora.entries import Part
from stablequant.corpora.manifests import read_manifest, siblings
from stablequant.errors import StableQuantError


def write_kaldi(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content)
    return folder / "wav.scp"


def test_kaldis_folder_has_segments_and_speakers(tmp_path):
    scp = write_kaldi(
        tmp_path,
        wav_scp="rec1 one.wav\nrec2 two.wav\n",
        segments="a rec1 0.0 1.50\nb rec1 1.5 3\nc rec2 2 -1\nd rec2 0 1 0\n",
        text="a ONE\nb\tTWO TWO\nc THREE\nd FOUR\n",
        utt2spk="a anna\nb bert\nc anna\nd anna\n",
    )
    manifest = read_manifest(scp)
    assert [(e.name, e.path, e.transcript, e.speaker, e.part) for e in manifest.entries] == [
        ("a", "one.wav", "ONE", "anna", Part(0.0, 1.5)),
        ("b", "one.wav", "TWO TWO", "bert", Part(1.5, 3.0)),
        ("c", "two.wav", "THREE", "anna", Part(2.0)),
        ("d", "two.wav", "FOUR", "anna", Part(0.0, 1.0)),
    ]
    assert manifest.source == tmp_path / "segments"
    assert {file.name for file in siblings(scp)} == {"text", "segments", "utt2spk"}


@pytest.mark.parametrize(
    ("segments", "text", "line", "reason"),
    [
        ("a rec1 0 1\nb rec9 0 1\n", "a A\nb B\n", 2, "the recording 'rec9' is not in wav.scp"),
        ("a rec1 0 1\nb rec1 0 1 A\n", "a A\nb B\n", 2, "channel 'A' of a recording; write its number"),
        ("a rec1 0 1\nb rec1 0\n", "a A\nb B\n", 2, "not 'utterance recording start end'"),
        ("a rec1 0 1\nb rec1 1 1\n", "a A\nb B\n", 2, "empty"),
        ("a rec1 0 1\nb rec1 1 2\n", "a A\n", 2, "no transcript of 'b'"),
        ("a rec1 0 1\n", "a A\nb B\n", 2, "'text' has a transcript, but 'segments' has no such utterance"),
    ],
)
def test_faulty_rows_of_kaldi_are_rejected(tmp_path, segments, text, line, reason):
    manifest = read_manifest(write_kaldi(tmp_path, wav_scp="rec1 one.wav\n", segments=segments, text=text))
    assert [entry.name for entry in manifest.entries] == ["a"]
    (rejection,) = manifest.rejections
    assert rejection.line == line
    assert reason in rejection.reason


@pytest.mark.parametrize("place", ["sph2pipe -f wav {file} |", "touch {mark} |", "|touch {mark}", "-"])
def test_no_command_of_a_manifest_is_run(tmp_path, place):
    mark = tmp_path / "was here"
    scp = write_kaldi(tmp_path, wav_scp=f"b one.wav\na {place.format(file='a.sph', mark=mark)}\n", text="a A\nb B\n")
    with pytest.raises(StableQuantError, match=r"wav\.scp, line 2: '.*' is a command.*; convert the audio to files"):
        read_manifest(scp)
    assert not mark.exists()
