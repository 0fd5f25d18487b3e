"""Corpora in the forms in which they lie on disk: LibriSpeech, fairseq's, Common Voice's, NeMo's."""

from pathlib import Path

import pytest
import soundfile
import soxr
from listing import expected, listed, write_jsonl, write_librispeech

from stablequant.corpora.manifests import Manifest, ManifestEntry, check_apart, list_folder, read_manifest
from stablequant.errors import StableQuantError


@pytest.fixture
def speech(tmp_path) -> list[Path]:
    return write_librispeech(tmp_path)


@pytest.mark.parametrize(
    ("text", "place", "fault"),
    [
        ("", "line 1", "no root"),
        ("/nowhere/at/all\na.flac\t1\n", "line 1", "not a directory"),
        ("{root}\n", "manifest.tsv", "empty"),
        ("{root}\na.flac sixteen\n", "line 2", "path TAB samples"),
        ("a.flac\t16000\n", "line 1", "no root"),
        ("{root}\na.flac\t16000\na.flac\t16000\n", "line 3", "line 2 too"),
        ("{root}\na.flac\t16000\n./a.flac\t16000\n", "line 3", "line 2 too"),
        ("{root}\n\u00e9.flac\t16000\ne\u0301.flac\t16000\n", "line 3", "line 2 too"),
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
    for name in ("a.wav", "b.wav", "c/d.wav"):
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


def common_voice(tmp_path: Path, speech: list[Path]) -> Path:
    """Common Voice's release: a TSV of many columns, the audio in clips/, sentences in ordinary writing."""
    clips = tmp_path / "cv/clips"
    clips.mkdir(parents=True)
    header = ["client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "age", "locale"]
    rows = []
    for file, text in zip(speech, expected(speech), strict=True):
        samples, _ = soundfile.read(file)
        name = f"common_voice_en_{file.stem}.mp3"
        soundfile.write(clips / name, soxr.resample(samples, 16_000, 32_000), 32_000)
        words = text.capitalize().split()
        sentence = f"\u201c{words[0]}, {' '.join(words[1:])}.\u201d"
        rows.append(["c0ffee", name, "1", sentence, "", "2", "", "en"])
    manifest = tmp_path / "cv/validated.tsv"
    manifest.write_text("\n".join("\t".join(row) for row in [header, *rows]) + "\n", encoding="utf-8")
    return manifest


def test_common_voice(tmp_path, speech, caplog):
    manifest = common_voice(tmp_path, speech)
    assert read_manifest(manifest).root == tmp_path / "cv/clips"
    assert listed(manifest) == expected(speech)
    assert [r.getMessage() for r in caplog.records] == ["4 files at 32000 Hz are resampled to 16000 Hz"]


def write_csv(folder: Path, speech: list[Path]) -> Path:
    rows = [f'{file},"{text}",x' for file, text in zip(speech, expected(speech), strict=True)]
    (folder / "split.csv").write_text("\n".join(["file,transcript,other", *rows]) + "\n")
    return folder / "split.csv"


@pytest.mark.parametrize("write", [write_csv, write_jsonl])
@pytest.mark.parametrize("absolute", [True, False])
def test_tables_with_a_path_and_a_text(tmp_path, speech, write, absolute):
    manifest = write(tmp_path, speech)
    if not absolute:
        manifest.write_text(manifest.read_text().replace(f"{tmp_path}/", ""))
    assert listed(manifest) == expected(speech)


def test_absolute_paths_say_themselves_where_the_audio_lies(tmp_path, speech):
    (tmp_path / "tables").mkdir()
    manifest = write_jsonl(tmp_path / "tables", speech)
    assert listed(manifest) == expected(speech)
    assert read_manifest(manifest).root.is_relative_to(tmp_path / "LibriSpeech/dev-clean")
    assert listed(manifest, audio_root=tmp_path / "LibriSpeech") == expected(speech)
    with pytest.raises(StableQuantError, match=r"line 1: '/.*' is not below '.*tables'; set 'audio_root'"):
        read_manifest(manifest, audio_root=tmp_path / "tables")
    manifest.write_text('{"audio_filepath": "here.flac", "text": "A"}\n' + manifest.read_text())
    with pytest.raises(StableQuantError, match=r"line 2: '/.*' is not below '.*tables'; set 'audio_root'"):
        read_manifest(manifest)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.jsonl", '{"audio_filepath": "a.flac"}', "line 1: no value in a column named sentence or text"),
        ("a.jsonl", '{"text": "A"}', "line 1: no value in a column named path or audio_filepath"),
        ("a.jsonl", '{"audio_filepath": "a.flac", "text": "A"}\n{"a', "line 2: not JSON"),
        ("a.jsonl", '["a.flac", "A"]', "line 1: not a JSON object"),
        ("a.jsonl", '{"audio_filepath": "../a.flac", "text": "A"}', "is outside the root"),
        ("a.jsonl", '{"audio_filepath": "/no/such/a.flac", "text": "A"}', "'/no/such' is not a directory"),
        ("a.jsonl", '{"audio_filepath": "a.flac", "text": "A", "offset": 3.5}', "segment of a longer recording"),
        ("a.jsonl", "\n", "the split is empty"),
        ("a.csv", "path,text\na.flac,A\na.flac,A\n", "line 3: 'a.flac' is on line 2 too"),
        ("a.csv", "path,text\n", "the split is empty"),
        ("a.csv", "path,text\na.flac,A\n/etc/passwd,B\n", "line 3: '/etc/passwd' is not below"),
        ("a.csv", "path,text\na.flac,\n", "line 2: no value in a column named sentence"),
        ("a.tsv", "path\tsentence\n../../a.flac\tA\n", "is outside the root"),
        ("a.tsv", "path\tsentence\na\0.flac\tA\n", "is outside the root"),
        ("a.csv", "path,text\n" + "a" * 200_000 + ",A\n", "not a table"),
    ],
)
def test_faulty_tables_are_refused(tmp_path, name, content, named):
    (tmp_path / name).write_text(content)
    with pytest.raises(StableQuantError, match=named) as refusal:
        read_manifest(tmp_path / name)
    assert str(tmp_path / name) in str(refusal.value)


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
