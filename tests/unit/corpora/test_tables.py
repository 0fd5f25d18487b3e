"""Manifests that are tables with named columns: Common Voice's, NeMo's, and others' of that kind."""

import re
from pathlib import Path

import pytest
import soundfile
import soxr
from listing import expected, listed, write_jsonl

from stablequant.corpora.manifests import read_manifest
from stablequant.errors import StableQuantError


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


def test_paths_may_name_the_folder_of_clips(tmp_path, speech):
    """As in the example of the README, whose audio lies in clips/ as Common Voice's does."""
    manifest = common_voice(tmp_path, speech)
    manifest.write_text(manifest.read_text().replace("common_voice_en_", "clips/common_voice_en_"))
    assert read_manifest(manifest).root == tmp_path / "cv"
    assert listed(manifest) == expected(speech)


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
        ("a.jsonl", '{"path": "a.flac", "text": "A"}\n\n{"path": {"bytes": 1}, "text": "B"}\n', "holds audio itself"),
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


@pytest.mark.parametrize("column", ["path", "audio_filepath"])
def test_paths_of_windows_are_found(tmp_path, speech, column):
    (tmp_path / "clips").mkdir()
    rows = []
    for file, text in zip(speech, expected(speech), strict=True):
        file.rename(tmp_path / "clips" / file.name)
        rows.append(f"clips\\{file.name},{text}")
    (tmp_path / "a.csv").write_text("\n".join([f"{column},text", *rows]) + "\n")
    assert read_manifest(tmp_path / "a.csv").root == tmp_path, "the root is not clips/"
    assert listed(tmp_path / "a.csv") == [row.split(",")[1] for row in rows]


def test_a_backslash_in_the_name_of_a_file_stays(tmp_path):
    for name in ("clips\\a.wav", "b.wav"):
        (tmp_path / name).touch()
    (tmp_path / "a.csv").write_text("path,text\nclips\\a.wav,A\nclips\\b.wav,B\n")
    assert [entry.path for entry in read_manifest(tmp_path / "a.csv").entries] == ["clips\\a.wav", "clips/b.wav"]
    (tmp_path / "a.csv").write_text("path,text\n..\\b.wav,B\n")
    with pytest.raises(StableQuantError, match="is outside the root"):
        read_manifest(tmp_path / "a.csv")


@pytest.mark.parametrize("name", [r"C:\data\a.wav", "d:/data/a.wav", r"\\server\data\a.wav"])
def test_an_absolute_path_of_windows_is_told(tmp_path, name):
    (tmp_path / "a.csv").write_text(f"path,text\na.wav,A\n{name},B\n")
    with pytest.raises(StableQuantError, match=r"a\.csv, line 3: '.*' is a path of Windows.*; write paths relative to"):
        read_manifest(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", '{"path": "a.flac", "audio": {"bytes": null, "path": "a.flac"}, "sentence": "A"}'),
        ("a.jsonl", '{"audio": {"path": "a.flac", "start_time": 0}, "sentence": "A", "duration": 2.1}'),
        ("a.jsonl", '{"path": "a.flac", "audio": {"bytes": null, "path": null}, "sentence": "A"}'),
        ("a.csv", "path,audio,sentence\na.flac,\"{'bytes': None, 'path': 'a.flac'}\",A"),
        ("a.csv", 'audio;sentence\n"{""bytes"": null, ""path"": ""a.flac""}";A'),
        ("a.csv", "path,sentence\na.flac,A"),
    ],
)
def test_audio_that_an_object_names_as_datasets_writes_it(tmp_path, name, text):
    (tmp_path / name).write_text(f"{text}\n")
    manifest = read_manifest(tmp_path / name)
    assert not manifest.rejections
    assert [(entry.path, entry.transcript) for entry in manifest.entries] == [("a.flac", "A")]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.jsonl", '{"audio": {"bytes": "UklGR", "path": "a.flac"}, "text": "A"}', "the column 'audio' holds audio"),
        ("a.jsonl", '{"audio": {"path": "a.flac", "end_time": 2}, "text": "A"}', "'end_time' in the column 'audio'"),
        ("a.jsonl", '{"path": "b.flac", "audio": {"path": "a.flac"}, "text": "A"}', "'path' and 'audio' differ"),
        ("a.jsonl", '{"audio": {"path": 7}, "text": "A"}', "'7' in the column 'audio' is not text"),
        ("a.jsonl", '{"audio": {"path": null}, "text": "A"}', "no value in a column named audio"),
        ("a.csv", "audio,text\n\"{'bytes': b'RIFF', 'path': 'a.flac'}\",A", "the column 'audio' holds audio itself"),
        ("a.csv", "path,audio,text\na.wav,\"{'path': 'a.wav', 'array': array([0.])}\",A", "write its path alone, or"),
    ],
)
def test_an_object_that_names_no_whole_file_is_refused(tmp_path, name, text, reason):
    (tmp_path / name).write_text(f"{text}\n")
    with pytest.raises(StableQuantError, match=reason):
        read_manifest(tmp_path / name)


def test_speechbrains_table(tmp_path):
    (tmp_path / "a.csv").write_text("ID,duration,wav,spk_id,wrd\n84-1,2.5,a.flac,84,SHE HAD\n")
    (entry,) = read_manifest(tmp_path / "a.csv").entries
    assert (entry.path, entry.transcript, entry.speaker) == ("a.flac", "SHE HAD", "84")
