"""Hostile input by the thousand: no error but the project's own, no path outside the roots, nothing that is not finite.

Cases are drawn by hypothesis from fixed seeds (``derandomize``), so that a failure comes again.
"""

import io
import json
import pickle
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
from conftest import DEMO
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from stablequant.audio import AudioError, read_audio
from stablequant.bundle import RECORD, check, read_bundle
from stablequant.engines import onnxruntime
from stablequant.engines.folder import write_engine
from stablequant.engines.running import load_engine
from stablequant.errors import StableQuantError
from stablequant.fairseq import read_fairseq
from stablequant.front_end import read_front_end
from stablequant.manifests import read_manifest
from stablequant.utterances import list_utterances, read_transcripts

MANY = settings(max_examples=2000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SOME = settings(MANY, max_examples=300)

PIECES = st.sampled_from(
    [
        *("..", ".", "/", "//", "\\", "\0", "\t", " ", "\n", "\r", '"', ",", "{", "}", "[", "]", ":", "|"),
        *(
            "a.wav",
            "secret.wav",
            "link.wav",
            "outside",
            "inside",
            "clips",
            "\u0660",
            "\uff11",
            "\uff0e\uff0e",
            "\u2025",
            "\u2215",
            "\ufeff",
            "\u2028",
        ),
        *("path", "sentence", "audio_filepath", "text", "400", "-1", "99999999999999999999", "1e9", "NaN", "#", "null"),
    ]
)
TEXT = st.one_of(st.lists(PIECES, max_size=30).map("".join), st.text(max_size=60))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """``inside``, the declared root, with a link that leads out of it, and ``outside`` beside it."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("inside", "outside", "manifests"):
        (folder / name).mkdir()
    tone = np.sin(np.arange(1600) / 5).astype(np.float32)
    for name in ("inside/a.wav", "outside/secret.wav"):
        soundfile.write(folder / name, tone, 16_000)
    (folder / "inside/link.wav").symlink_to(folder / "outside/secret.wav")
    (folder / "inside/away").symlink_to(folder / "outside")
    return folder


@MANY
@given(body=TEXT, suffix=st.sampled_from([".tsv", ".csv", ".jsonl", ".json"]), rooted=st.booleans())
def test_a_manifest_names_nothing_outside_its_root(place, body, suffix, rooted):
    file = place / "manifests" / f"m{suffix}"
    file.write_bytes((f"{place / 'inside'}\n{body}" if rooted else body).encode("utf-8", "surrogatepass"))
    try:
        manifest = read_manifest(file, None if rooted else place / "inside")
    except StableQuantError as error:
        assert str(file) in str(error) or "audio_root" in str(error)
        return
    for entry in manifest.entries:
        lexical = Path(*[part for part in (manifest.root / entry.path).parts if part != "."])
        assert lexical.is_relative_to(manifest.root)
        assert ".." not in Path(entry.path).parts


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
def test_no_audio_outside_the_root_is_opened(place, names):
    file = place / "manifests/links.tsv"
    rows = ["/".join(parts).replace("///", "/") for parts in names]
    file.write_text(f"{place / 'inside'}\n" + "".join(f"{row}\t1600\n" for row in rows), encoding="utf-8")
    file.with_suffix(".wrd").write_text("HELLO\n" * len(rows))
    try:
        utterances, rejections = list_utterances(read_manifest(file), read_front_end(DEMO))
    except StableQuantError:
        return
    assert {u.path for u in utterances} <= {str(place / "inside/a.wav")} | {f"{place / 'inside'}/./a.wav"}
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


SOUND = (0.3 * np.sin(np.arange(4000) / 7) + 0.01 * np.random.default_rng(0).standard_normal(4000)).astype(np.float32)
FORMS = {
    name: (lambda buffer: (soundfile.write(buffer, SOUND, 16_000, **how), buffer.getvalue())[1])(io.BytesIO())
    for name, how in {
        "flac": {"format": "FLAC"},
        "wav": {"format": "WAV"},
        "float wav": {"format": "WAV", "subtype": "FLOAT"},
        "ogg": {"format": "OGG"},
        "mp3": {"format": "MP3"},
    }.items()
}
DAMAGE = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=20)


@MANY
@given(form=st.sampled_from(sorted(FORMS)), damage=DAMAGE, kept=st.floats(0.01, 1), mix=st.booleans())
def test_damaged_audio_is_refused_or_finite(form, damage, kept, mix):
    content = bytearray(FORMS[form])
    for place, value in damage:
        content[int(place * len(content))] = value
    del content[int(kept * len(content)) :]
    try:
        audio = read_audio(io.BytesIO(bytes(content)), 16_000, mix)
    except AudioError:
        return
    assert audio.samples.dtype == np.float32
    assert audio.samples.ndim == 1
    assert np.isfinite(audio.samples).all()


def test_a_header_that_claims_an_age_of_sound_allocates_nothing():
    content = bytearray(FORMS["flac"])
    content[21:26] = bytes([content[21] | 0x0F, 0xFF, 0xFF, 0xFF, 0xFF])  # samples in all, 36 bits of STREAMINFO
    with pytest.raises(AudioError, match=r"longer than|truncated|damaged"):
        read_audio(io.BytesIO(bytes(content)), 16_000)


MARK = Path(tempfile.mkdtemp()) / "was here"  # what a checkpoint that is executed leaves


class Evil:
    def __reduce__(self):
        return (MARK.write_text, ("x",))


def checkpoint_bytes(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


STATES = [
    checkpoint_bytes({"model": {"w2v_encoder.proj.weight": torch.zeros(4, 4)}, "args": None, "cfg": None}),
    checkpoint_bytes({"model": {}, "cfg": {"model": {"_name": "wav2vec_ctc"}}}),
    pickle.dumps({"model": [1, 2, 3]}),
    checkpoint_bytes({"model": {"x": Evil()}}),
    pickle.dumps(Evil()),
]


@settings(MANY, max_examples=1000)
@given(state=st.sampled_from(STATES), damage=st.one_of(st.just([]), DAMAGE), kept=st.floats(0.01, 1))
@example(state=STATES[2], damage=[(0.0, 71)], kept=0.125)  # struct.error
def test_a_checkpoint_is_refused_and_runs_nothing(place, state, damage, kept):
    content = bytearray(state)
    for spot, value in damage:
        content[int(spot * len(content))] = value
    del content[int(kept * len(content)) + 1 :]
    file = place / "checkpoint.pt"
    file.write_bytes(bytes(content))
    with pytest.raises(StableQuantError, match=r"checkpoint\.pt"):
        read_fairseq(file)
    assert not MARK.exists()


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def bundle(place) -> Path:
    folder = place / "bundle"
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


@MANY
@given(
    sums=st.one_of(JSON, st.dictionaries(st.one_of(TEXT, st.just("../outside/secret.wav")), JSON, max_size=5)),
    rest=st.one_of(st.just({}), st.dictionaries(TEXT, JSON, max_size=3)),
)
def test_a_bundles_record_is_checked_or_refused(place, bundle, sums, rest):
    (bundle / RECORD).write_text(json.dumps({**rest, "sha256": sums}), encoding="utf-8", errors="surrogatepass")
    with pytest.raises(StableQuantError):
        opened = read_bundle(bundle)
        check(opened.folder, opened.record)


@SOME
@given(content=st.binary(max_size=400), backend=st.sampled_from(["openvino", "onnxruntime"]))
def test_a_foreign_engine_file_is_refused(place, tiny, content, backend):
    name = {"openvino": "model.xml", "onnxruntime": "model.onnx"}[backend]
    folder = place / f"engine-{backend}"
    write_engine(folder, tiny.folder, lambda into: (into / name).write_bytes(content) and None, {"backend": backend})
    with pytest.raises(StableQuantError, match=name.replace(".", r"\.")):
        load_engine(folder, 1)


def test_a_graph_that_reads_weights_from_elsewhere_is_refused(place, tiny):
    (place / "outside/weights").write_bytes(b"\0" * 64)
    weight = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[16])
    onnx.external_data_helper.set_external_data(_filled(weight), "../outside/weights")
    node = helper.make_node("Add", ["input_values", "weight"], ["logits"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [16]) for name in ("input_values", "logits")]
    graph = helper.make_graph([node], "g", values[:1], values[1:], [weight])
    folder = place / "external"
    folder.mkdir()
    content = helper.make_model(graph).SerializeToString()
    write_engine(
        folder / "engine",
        tiny.folder,
        lambda into: (into / "model.onnx").write_bytes(content) and None,
        {"backend": "onnxruntime"},
    )
    with pytest.raises(StableQuantError, match="weights from another file"):
        onnxruntime.load(folder / "engine", 1)


def _filled(tensor: TensorProto) -> TensorProto:
    tensor.raw_data = b"\0" * 64
    return tensor
