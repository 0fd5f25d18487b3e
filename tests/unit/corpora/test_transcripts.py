"""Transcripts beside manifests and audio, and lists that find the audio by its name."""

import pytest
from listing import FRONT_END, expected, listed

from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import manifest_in, read_manifest
from stablequant.errors import StableQuantError


@pytest.mark.parametrize("suffix", [".wrd", ".ltr"])
def test_transcripts_beside_a_fairseq_manifest(tmp_path, speech, suffix):
    texts = expected(speech)
    for file in {f for s in speech for f in s.parent.glob("*.trans.txt")}:
        file.unlink()
    letters = [" ".join(text.replace(" ", "|")) + " |" for text in texts]
    (tmp_path / f"tsv/dev-clean{suffix}").write_text("\n".join(letters if suffix == ".ltr" else texts) + "\n")
    assert listed(tmp_path / "tsv/dev-clean.tsv") == texts
    (tmp_path / f"tsv/dev-clean{suffix}").write_text("\n".join(texts[:-1]) + "\n")
    with pytest.raises(StableQuantError, match=rf"dev-clean\{suffix}: 3 lines for the 4 utterances"):
        read_manifest(tmp_path / "tsv/dev-clean.tsv")


@pytest.mark.parametrize(
    ("present", "labels", "expected"),
    [
        (["wrd", "ltr", "phn"], None, "SAY IT"),
        (["wrd", "phn"], ["phn"], "S EY IH T"),
        (["phn"], None, "S EY IH T"),
        (["ltr", "phn"], ["wrd", "ltr"], "SAY ONE"),
        (["wrd", "ltr"], ["ltr", "wrd"], "SAY ONE"),
        (["phn"], ["wrd", "ltr"], None),
        ([], ["phn"], None),
    ],
)
def test_the_labels_beside_a_manifest_are_those_that_the_recogniser_writes(tmp_path, present, labels, expected):
    texts = {"wrd": "SAY IT", "ltr": "S A Y | O N E |", "phn": "S EY IH T"}
    manifest = tmp_path / "a.tsv"
    manifest.write_text(f"{tmp_path}\na.flac\t16000\n")
    for suffix in present:
        manifest.with_suffix(f".{suffix}").write_text(f"{texts[suffix]}\n")
    (entry,) = read_manifest(manifest, **({} if labels is None else {"labels": labels})).entries
    assert entry.transcript == expected


def test_letters_of_sentencepiece(tmp_path):
    (tmp_path / "a.tsv").write_text(f"{tmp_path}\na.flac\t16000\n")
    (tmp_path / "a.ltr").write_text("\u2581S A Y \u2581I T\n")
    (entry,) = read_manifest(tmp_path / "a.tsv").entries
    assert entry.transcript == "SAY IT"


def test_words_are_refused_where_phonemes_are_needed(tmp_path):
    (tmp_path / "a.tsv").write_text(f"{tmp_path}\na.flac\t16000\n")
    (tmp_path / "a.wrd").write_text("SAY IT\n")
    with pytest.raises(StableQuantError, match=r"a\.wrd: the recogniser was trained on phonemes, and a\.phn does not"):
        read_manifest(tmp_path / "a.tsv", labels=["phn"])


def test_transcripts_beside_the_audio_may_have_tabs_and_a_mark(tmp_path, speech):
    texts = expected(speech)
    for file in {f for s in speech for f in s.parent.glob("*.trans.txt")}:
        file.write_text("\ufeff" + "\n".join(line.replace(" ", "\t", 1) for line in file.read_text().splitlines()))
    assert listed(tmp_path / "tsv/dev-clean.tsv") == texts
    first = next(speech[0].parent.glob("*.trans.txt"))
    first.write_text(first.read_text() + f"\n{speech[0].stem} ANOTHER\n")
    with pytest.raises(StableQuantError, match=rf"{first.name}, line \d+: another transcript of '{speech[0].stem}'"):
        listed(tmp_path / "tsv/dev-clean.tsv")


def test_multilingual_librispeech_as_it_is_published(tmp_path, speech):
    """audio/speaker/book/speaker_book_utterance.flac beside transcripts.txt."""
    lines = []
    for number, (file, text) in enumerate(zip(speech, expected(speech), strict=True)):
        name = f"{number % 2}_77_{number:06d}"
        target = tmp_path / f"mls/dev/audio/{number % 2}/77/{name}.flac"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
        lines.append(f"{name}\t{text.lower()}")
    (tmp_path / "mls/dev/transcripts.txt").write_text("\n".join([*lines, "0_77_999999\tnothing"]) + "\n")
    manifest = read_manifest(manifest_in(tmp_path / "mls/dev"))
    assert [(r.line, r.reason) for r in manifest.rejections] == [
        (5, "no audio files below the root are named '0_77_999999'")
    ]
    utterances, _ = list_utterances(manifest, FRONT_END)
    assert [u.transcript for u in utterances] == expected(speech)
    assert [u.speaker for u in utterances] == ["0", "1", "0", "1"]


def test_namesakes_are_no_choice_for_a_list_of_transcripts(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.wav").touch()
    (tmp_path / "x/b.wav").touch()
    (tmp_path / "transcripts.txt").write_text("b\tB\na\tA\n")
    manifest = read_manifest(tmp_path / "transcripts.txt")
    assert [entry.path for entry in manifest.entries] == ["x/b.wav"]
    assert [(r.line, r.reason) for r in manifest.rejections] == [(2, "2 audio files below the root are named 'a'")]


def test_a_list_of_transcripts_made_on_windows(tmp_path, speech):
    root = tmp_path / "LibriSpeech/dev-clean"
    texts = expected(speech)
    names = [str(file.relative_to(root)).replace("/", "\\") for file in speech]
    (root / "list.tsv").write_text("".join(f"{name}\t{text}\n" for name, text in zip(names, texts, strict=True)))
    assert listed(root / "list.tsv") == texts
    utterances, _ = list_utterances(read_manifest(root / "list.tsv"), FRONT_END)
    assert [u.utterance for u in utterances] == [file.stem for file in speech]
