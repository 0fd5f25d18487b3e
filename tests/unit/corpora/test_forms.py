"""Which form a manifest has is found by its content."""

import json
from pathlib import Path

import pytest
from listing import expected, listed

from stablequant.corpora.entries import first_line, read_lines
from stablequant.corpora.manifests import manifest_in
from stablequant.errors import StableQuantError


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


def test_a_folder_of_common_voice_is_refused_with_the_name_of_a_table(tmp_path):
    header = "client_id\tpath\tsentence\tup_votes"
    tables = {"dev.tsv": header, "reported.tsv": "sentence_id\tsentence", "validated.tsv": header}
    for name, first in tables.items():
        (tmp_path / name).write_text(f"{first}\n")
    (tmp_path / "._validated.tsv").write_bytes(b"\0\5\x16\7\xff")  # of macOS
    assert manifest_in(tmp_path) == tmp_path
    (tmp_path / "clips").mkdir()
    with pytest.raises(StableQuantError, match=r"the tables dev\.tsv, validated\.tsv; .* such as .*/validated\.tsv$"):
        manifest_in(tmp_path)
    (tmp_path / "validated.tsv").unlink()
    with pytest.raises(StableQuantError, match=r"with the tables dev\.tsv; name one, such as .*/dev\.tsv$"):
        manifest_in(tmp_path)
