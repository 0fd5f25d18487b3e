"""Corpora in the forms in which they lie on disk: LibriSpeech, fairseq's, Common Voice's, NeMo's, Kaldi's."""

import json
import re
from pathlib import Path

import pytest
import soundfile
import soxr
from listing import FRONT_END, expected, listed, write_jsonl, write_librispeech

from stablequant.corpora.entries import Manifest, ManifestEntry, Part, first_line, read_lines
from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import check_apart, list_folder, manifest_in, read_manifest, siblings
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
        ("a.jsonl", '{"audio_filepath": "a.flac"}', "line 1: no column named sentence or text"),
        ("a.jsonl", '{"text": "A"}', "line 1: no column named path or audio_filepath"),
        ("a.jsonl", '{"audio_filepath": "a.flac", "text": "A"}\n{"a', "line 2: not JSON"),
        ("a.jsonl", '["a.flac", "A"]', "line 1: not a JSON object"),
        ("a.jsonl", '{"audio_filepath": "../a.flac", "text": "A"}', "is outside the root"),
        ("a.jsonl", '{"audio_filepath": "/no/such/a.flac", "text": "A"}', "'/no/such' is not a directory"),
        ("a.jsonl", "\n", "the split is empty"),
        ("a.csv", "path,text\n", "the split is empty"),
        ("a.csv", "path,text\na.flac,A\n/etc/passwd,B\n", "line 3: '/etc/passwd' is not below"),
        ("a.csv", "path,text\na.flac,\n", "line 2: no value in a column named text"),
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


def write_forms(folder: Path, speech: list[Path]) -> dict[str, Path]:
    """One corpus in all forms that name each file and its transcript; the audio lies in ``data``."""
    (folder / "data").mkdir(parents=True)
    pairs = []
    for file, text in zip(speech, expected(speech), strict=True):
        (folder / "data" / file.name).write_bytes(file.read_bytes())
        pairs.append((f"data/{file.name}", text))
    separated = {
        "metadata.csv": ("file_name,transcription", ","),
        "semicolon.csv": ("path;sentence", ";"),
        "semicolon.txt": ("sentence_id;Sentence;Path", ";"),
        "tabs.csv": ("path\tsentence", "\t"),
        "commas.tsv": ("path,sentence", ","),
        "quoted.tsv": ('"path"\t"sentence"', "\t"),
        "pandas.csv": (",wav_filename,transcript", ","),
    }
    forms = {}
    for name, (header, separator) in separated.items():
        rows = [[path, text] for path, text in pairs]
        if name == "semicolon.txt":
            rows = [["7", text, path] for path, text in pairs]
        if name == "pandas.csv":
            rows = [[str(number), *row] for number, row in enumerate(rows)]
        if name == "quoted.tsv":
            rows = [[f'"{cell}"' for cell in row] for row in rows]
        forms[name] = "\n".join([header, *(separator.join(row) for row in rows)])
    forms["manifest.txt"] = "\n".join(json.dumps({"audio_filepath": path, "text": text}) for path, text in pairs)
    forms["metadata.jsonl"] = "\n".join(json.dumps({"file_name": path, "transcript": text}) for path, text in pairs)
    forms["list.tsv"] = "\n".join(f"{path}\t{text}" for path, text in pairs)
    forms["transcripts.txt"] = "\n".join(f"{Path(path).stem}\t{text}" for path, text in pairs)
    forms["wav.scp"] = "\n".join(f"utt{number} {folder / path}" for number, (path, _) in enumerate(pairs))
    forms["text"] = "\n".join(f"utt{number} {text}" for number, (_, text) in enumerate(pairs))
    for name, content in forms.items():
        (folder / name).write_text(content + "\n", encoding="utf-8")
    return {name: folder / name for name in forms}


FORMS = [
    *("metadata.csv", "semicolon.csv", "semicolon.txt", "tabs.csv", "commas.tsv", "quoted.tsv", "pandas.csv"),
    *("manifest.txt", "metadata.jsonl", "list.tsv", "transcripts.txt", "wav.scp", "text"),
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", ["häder,file_name\r\na,b\r\n", "one line", "", "\nsecond\n", "a\rb"])
def test_the_first_line_is_that_of_all_lines(tmp_path, encoding, text):
    (tmp_path / "metadata.csv").write_bytes(text.encode(encoding))
    assert first_line(tmp_path / "metadata.csv") == read_lines(tmp_path / "metadata.csv")[0]


def test_a_first_line_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "metadata.csv").write_bytes(b"caf\xe9\n")
    with pytest.raises(StableQuantError, match="not UTF-8"):
        first_line(tmp_path / "metadata.csv")
    with pytest.raises(StableQuantError, match="cannot be read"):
        first_line(tmp_path / "absent")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", FORMS)
def test_the_form_of_a_table_is_found_by_its_content(tmp_path, speech, name, encoding):
    forms = write_forms(tmp_path / "corpus", speech)
    assert sorted(forms) == sorted(FORMS)
    for file in forms.values():
        file.write_text(file.read_text(encoding="utf-8"), encoding=encoding)
    assert listed(forms[name]) == expected(speech)


def test_a_folder_that_holds_a_manifest_is_read_by_it(tmp_path, speech):
    forms = write_forms(tmp_path / "corpus", speech)
    assert manifest_in(tmp_path / "corpus") == forms["wav.scp"]
    assert listed(tmp_path / "corpus") == expected(speech)
    for name in ("wav.scp", "transcripts.txt"):
        forms[name].unlink()
    assert manifest_in(tmp_path / "corpus") == forms["metadata.csv"]
    assert listed(tmp_path / "corpus") == expected(speech)
    forms["metadata.csv"].write_text("notes on the corpus\n")
    assert manifest_in(tmp_path / "corpus") == forms["metadata.jsonl"]
    assert manifest_in(tmp_path / "LibriSpeech") == tmp_path / "LibriSpeech"
    assert manifest_in(forms["list.tsv"]) == forms["list.tsv"]


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        (
            "a.csv",
            "clip,words\na.flac,A\n",
            "line 1: the header 'clip,words' names no column of audio",
        ),
        ("a.csv", "a.flac,A B\nb.flac,C\n", "line 1: the header 'a.flac,A B' names no column of audio"),
        ("a.tsv", "clip\twords\na.flac\tA\n", "line 1: the header 'clip\twords' names no column of audio"),
        ("a.tsv", "\nclip;words\na.flac;A\n", "line 2: the header 'clip;words' names no column of audio"),
        ("a.csv", "path,words\na.flac,A\n", "line 1: no column named sentence or text"),
        ("a.csv", "path,text,text\na.flac,A,B\n", "line 1: two columns are named 'text'"),
        ("a.jsonl", '{"path": "a.flac", "text": "A", "text": "B"}\n', "line 1: not JSON .a key occurs twice"),
        (
            "a.csv",
            "path,text,clip_start\na.flac,A,\nb.flac,B,1.5\n",
            "line 3: the column 'clip_start' may cut the audio",
        ),
        (
            "a.jsonl",
            '{"path": "a.flac", "text": "A", "frameOffset": 800}\n',
            "line 1: the column 'frameOffset' may cut",
        ),
        ("a.csv", 'path,text\na.flac,"A\nb.flac,B\n', "line 2: not a table"),
        ("a.csv", 'path,text\na.flac,"A\nb.flac,B"\n', "line 2: not a table .a quoted cell goes on until line 3"),
        ("a.csv", 'path,text\na.flac,"A" B\n', "line 2: not a table"),
        ("a.csv", ",path,text\n0,a.flac,A\nx,b.flac,B\n", "line 2: the cell '0' is below no column"),
        ("transcripts.txt", "a\tA\nb B\n", "line 2: 'b B' is not 'utterance TAB words'"),
        ("a.tsv", "p\0a\0t\0h\0\t\0t\0e\0x\0t\0\n\0", "UTF-16 without a byte-order mark"),
    ],
)
def test_a_wrong_form_is_told_at_its_line(tmp_path, name, content, named):
    (tmp_path / name).write_text(content)
    with pytest.raises(StableQuantError, match=named) as refusal:
        read_manifest(tmp_path / name)
    assert str(tmp_path / name) in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "rows", "reason"),
    [
        ("a.csv", "path,text\n{good}\nb.flac,B, AND C\n", "the cell ' AND C' is below no column"),
        ("a.csv", "path,text,\n{good},\nb.flac,B,C\n", "the cell 'C' is below no column"),
        ("a.csv", ",path,text\n0,{good}\n1,b.flac,B,C\n", "the cell 'C' is below no column"),
        ("a.csv", "path;text\n{good;}\nb.flac;B;C\n", "the cell 'C' is below no column"),
        ("a.tsv", "path\ttext\n{good\t}\nb.flac\tB\tC\n", "the cell 'C' is below no column"),
        ("a.csv", "path,text\n{good}\nb.flac,\n", "no value in a column named text"),
        ("a.csv", "path,text\n{good}\nb.flac\n", "no value in a column named text"),
        ("a.csv", "path,text\n{good}\n,B\n", "no value in a column named path"),
        ("a.csv", "path,text,sentence\n{good},A\nb.flac,B,C\n", "the columns 'sentence' and 'text' differ"),
        ("a.jsonl", '{"path": "a.flac", "text": "A"}\n\n{"path": "b.flac", "text": 7}\n', "'7' .* is not text"),
        ("a.jsonl", '{"path": "a.flac", "text": "A"}\n\n{"path": {"bytes": 1}, "text": "B"}\n', "is not text"),
    ],
)
def test_a_faulty_row_is_rejected_with_its_line(tmp_path, name, rows, reason):
    for separator in (",", ";", "\t"):
        rows = rows.replace("{good}" if separator == "," else f"{{good{separator}}}", f"a.flac{separator}A")
    (tmp_path / name).write_text(rows)
    manifest = read_manifest(tmp_path / name)
    assert [(entry.path, entry.transcript) for entry in manifest.entries] == [("a.flac", "A")]
    (rejection,) = manifest.rejections
    assert rejection.line == 3
    assert re.search(reason, rejection.reason), rejection


@pytest.mark.parametrize(
    "row",
    [
        "client_id,path,text,up_votes,locale,segment,duration_note\nx,a.flac,A,3,en,Benchmark,end\n",
        "path,text,start_note\na.flac,A,0\n",
        "path,text,\na.flac,A,\n",
        "path,text\na.flac,A,\n",
        'path,text\na.flac,"A\nB C"\n',
    ],
)
def test_columns_and_cells_that_change_nothing_are_no_fault(tmp_path, row):
    (tmp_path / "a.csv").write_text(row)
    manifest = read_manifest(tmp_path / "a.csv")
    assert [entry.path for entry in manifest.entries] == ["a.flac"]
    assert (manifest.entries[0].transcript or "").split()[0] == "A"
    assert not manifest.rejections


def test_a_table_says_who_speaks(tmp_path):
    (tmp_path / "a.tsv").write_text("client_id\tpath\tsentence\nc0ffee\ta.flac\tA\n\tb.flac\tB\n")
    assert [entry.speaker for entry in read_manifest(tmp_path / "a.tsv").entries] == ["c0ffee", None]
    (tmp_path / "a.jsonl").write_text('{"path": "a.flac", "text": "A", "speaker": 17}\n')
    assert read_manifest(tmp_path / "a.jsonl").entries[0].speaker == "17"


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


def test_transcripts_beside_the_audio_may_have_tabs_and_a_mark(tmp_path, speech):
    texts = expected(speech)
    for file in {f for s in speech for f in s.parent.glob("*.trans.txt")}:
        file.write_text("\ufeff" + "\n".join(line.replace(" ", "\t", 1) for line in file.read_text().splitlines()))
    assert listed(tmp_path / "tsv/dev-clean.tsv") == texts
    first = next(speech[0].parent.glob("*.trans.txt"))
    first.write_text(first.read_text() + f"\n{speech[0].stem} ANOTHER\n")
    with pytest.raises(StableQuantError, match=rf"{first.name}, line \d+: another transcript of '{speech[0].stem}'"):
        listed(tmp_path / "tsv/dev-clean.tsv")
