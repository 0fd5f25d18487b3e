"""Where a checkpoint comes from: a folder, a single file, or the hub."""

import json

import pytest
from checkout import DEMO

from stablequant.errors import StableQuantError
from stablequant.recognisers.sources import check_source, checkpoint_files, is_hub_identifier, read_config


@pytest.mark.parametrize(
    "source",
    [
        "facebook/hubert-large-ls960-ft",
        "owner/name@main",
        "owner/name@refs/pr/3",
        "owner/name@0123456789abcdef0123456789abcdef01234567",
        "a/b",
        "o_w.n-er/n_a.m-e@v1.0",
    ],
)
def test_identifiers_of_the_hub(source):
    assert is_hub_identifier(source)
    check_source(source, "the place")
    assert checkpoint_files(source) == []


@pytest.mark.parametrize(
    "source",
    [
        "",
        "name",
        "owner/",
        "/name",
        "/owner/name",
        "./name",
        "../name",
        "owner/../name",
        "owner/name/file",
        "owner/name@",
        "owner name/x",
        "owner/name\n",
        "-owner/name",
        ".owner/name",
        "https://huggingface.co/owner/name",
    ],
)
def test_what_is_neither_a_path_nor_an_identifier_is_refused_with_its_place(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_hub_identifier(source)
    if source:  # the current folder is one
        with pytest.raises(StableQuantError) as refusal:
            check_source(source, "config key 'models: demo: checkpoint'")
        assert str(refusal.value) == (
            f"config key 'models: demo: checkpoint': '{source}' is neither a file nor a folder nor owner/name on the "
            "hub; correct the path"
        )


def test_a_path_that_looks_like_an_identifier_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_identifier("owner/name")
    (tmp_path / "owner/name").mkdir(parents=True)
    assert not is_hub_identifier("owner/name")
    check_source("owner/name", "the place")
    assert checkpoint_files("owner/name") == []
    (tmp_path / "owner/name/config.json").write_text("{}")
    assert checkpoint_files("owner/name") == ["owner/name/config.json"]


def test_files_of_a_folder_are_all_that_lie_in_it(tmp_path):
    for name in ("vocab.json", "config.json", "model.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/other").write_bytes(b"x")
    assert checkpoint_files(str(tmp_path)) == [
        str(tmp_path / name) for name in ("config.json", "model.safetensors", "vocab.json")
    ]


def test_files_of_a_single_file_are_itself_and_the_dictionaries_beside_it(tmp_path):
    for name in ("checkpoint.pt", "other.pt", "dict.phn.txt", "dict.ltr.txt", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    found = checkpoint_files(str(tmp_path / "checkpoint.pt"))
    assert found == [str(tmp_path / name) for name in ("checkpoint.pt", "dict.ltr.txt", "dict.phn.txt")]


def test_a_config_is_read():
    assert read_config(DEMO) == json.loads((DEMO / "config.json").read_text())


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "the file does not exist; name the folder of a checkpoint, or correct the path"),
        ("", "not readable as JSON .*; restore the file"),
        ("{", "not readable as JSON .*; restore the file"),
        ("\udcff", "not readable as JSON .*; restore the file"),
        ("[" * 100_000, "not readable as JSON .*; restore the file"),
        ("[]", "not a model's configuration; restore it"),
        ("null", "not a model's configuration; restore it"),
        ('"hubert"', "not a model's configuration; restore it"),
    ],
    ids=["absent", "empty", "cut", "not text", "deep", "list", "null", "text"],
)
def test_a_config_that_is_none_is_refused_by_its_name(tmp_path, content, fault):
    if content is not None:
        (tmp_path / "config.json").write_text(content, errors="surrogateescape")
    with pytest.raises(StableQuantError, match=rf"^{tmp_path}/config\.json: {fault}$"):
        read_config(tmp_path)
