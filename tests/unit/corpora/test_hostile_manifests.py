"""Hostile manifests and transcripts: read or refused, and nothing outside their root is named."""

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from checkout import DEMO
from hostile import MANY, PATHS, SOME, TEXT, write_inside_and_outside
from hypothesis import given
from hypothesis import strategies as st

from stablequant.corpora.list_utterances import list_utterances, read_transcripts
from stablequant.corpora.manifests import read_manifest
from stablequant.errors import StableQuantError
from stablequant.recognisers.wav2vec2.family import read_front_end


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = write_inside_and_outside(tmp_path_factory.mktemp("place"))
    (folder / "manifests").mkdir()
    return folder


@MANY
@given(
    body=TEXT,
    name=st.sampled_from(["m.tsv", "m.csv", "m.jsonl", "m.json", "transcripts.txt", "kaldi/text", "kaldi/segments"]),
    rooted=st.booleans(),
)
def test_a_manifest_of_any_bytes_is_read_or_refused(place, body, name, rooted):
    file = place / "manifests" / name
    file.parent.mkdir(exist_ok=True)
    (file.parent / "wav.scp").write_text("a a.wav\nb ../outside/secret.wav\n" if "outside" in body else "a a.wav\n")
    file.write_bytes((f"{place / 'inside'}\n{body}" if rooted else body).encode("utf-8", "surrogatepass"))
    try:
        read_manifest(file, None if rooted else place / "inside")
    except StableQuantError as error:
        assert str(file.parent) in str(error) or "audio_root" in str(error)


def listing(form: str, paths: Sequence[str], root: Path) -> str:
    """A manifest that is well formed, whatever its paths."""
    if form == "fairseq":
        return f"{root}\n" + "".join(f"{path}\t1600\n" for path in paths)
    if form == "jsonl":
        return "".join(json.dumps({"audio_filepath": path, "text": "x"}) + "\n" for path in paths)
    text = io.StringIO()
    writer = csv.writer(text, delimiter={"csv": ",", "tsv": "\t"}[form], lineterminator="\n")
    writer.writerows([["path", "sentence"], *([path, "x"] for path in paths)])
    return text.getvalue()


def test_a_manifest_names_nothing_outside_its_root(place):
    accepted = []

    @MANY
    @given(
        form=st.sampled_from(["fairseq", "csv", "tsv", "jsonl"]),
        paths=st.lists(PATHS, min_size=1, max_size=2),
        given_root=st.booleans(),
    )
    def read(form, paths, given_root):
        file = place / "inside" / f"m.{'txt' if form == 'fairseq' else form}"
        file.write_bytes(listing(form, paths, place / "inside").encode("utf-8", "surrogatepass"))
        try:
            manifest = read_manifest(file, place / "inside" if given_root else None)
        except StableQuantError as error:
            assert str(file) in str(error) or "audio_root" in str(error)
            return
        for entry in manifest.entries:
            assert ".." not in Path(entry.path).parts
            assert Path(os.path.normpath(manifest.root / entry.path)).is_relative_to(manifest.root)
            if given_root:
                assert manifest.root == place / "inside"
            accepted.append(form)

    read()
    assert min(accepted.count(form) for form in ("fairseq", "csv", "tsv", "jsonl")) > 100, "hardly a path was looked at"


@SOME
@given(
    names=st.lists(
        st.lists(
            st.sampled_from(["a.wav", "link.wav", "away", "..", "secret.wav", "/", "\u0660"]), min_size=1, max_size=3
        ),
        min_size=1,
        max_size=3,
    )
)
def test_no_audio_outside_the_root_is_listed(place, names):
    file = place / "manifests/links.tsv"
    rows = ["/".join(parts).replace("///", "/") for parts in names]
    file.write_text(f"{place / 'inside'}\n" + "".join(f"{row}\t1600\n" for row in rows), encoding="utf-8")
    file.with_suffix(".wrd").write_text("HELLO\n" * len(rows))
    try:
        utterances, rejections = list_utterances(read_manifest(file), read_front_end(DEMO))
    except StableQuantError:
        return
    # links are followed where they lie below the root, which the user named
    listed = {os.path.normpath(u.path).removeprefix(f"{place / 'inside'}/") for u in utterances}
    assert listed <= {"a.wav", "link.wav", "away/secret.wav"}
    assert len(utterances) + len(rejections) == len(rows)


@MANY
@given(content=st.one_of(st.binary(max_size=200), TEXT.map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_transcripts_are_read_or_refused(place, content):
    folder = place / "manifests/transcripts"
    folder.mkdir(exist_ok=True)
    (folder / "x.trans.txt").write_bytes(content)
    try:
        assert all(isinstance(text, str) for text in read_transcripts(folder).values())
    except StableQuantError as error:
        assert "x.trans.txt" in str(error)
