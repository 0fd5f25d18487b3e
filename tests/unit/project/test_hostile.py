"""Hostile input by the thousand: no error but the project's own, no path outside the roots, nothing that is not finite.

Cases are drawn by hypothesis from fixed seeds (``derandomize``), so that a failure comes again.
"""

import csv
import io
import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import pytest
import soundfile
import torch
from conftest import DEMO, Loaded
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from stablequant.bundle.write_bundle import RECORD, check, read_bundle
from stablequant.corpora.audio import AudioError, read_audio
from stablequant.corpora.list_utterances import list_utterances, read_transcripts
from stablequant.corpora.manifests import read_manifest
from stablequant.engines.backend import Request, backend_named
from stablequant.engines.folder import write_engine
from stablequant.engines.precision import precision_table
from stablequant.engines.running import backend_of, load_engine
from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.front_end import write_front_end
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.unpickling import plain
from stablequant.recognisers.wav2vec2.family import FILES, read_front_end
from stablequant.recognisers.wav2vec2.memory import LONGEST_FRAME, read_footprint
from stablequant.storage.files import checksum, read_json
from stablequant.workflow.provenance import checksums

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


STEPS = st.sampled_from(
    ["..", ".", "", "a.wav", "away", "secret.wav", "outside", "\0", "\u2025", "\uff0e\uff0e", "~", "\\"]
)
PATHS = st.one_of(st.lists(STEPS, min_size=1, max_size=4).map("/".join), TEXT)


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


SOUND = (0.3 * np.sin(np.arange(4000) / 7) + 0.01 * np.random.default_rng(0).standard_normal(4000)).astype(np.float32)
FORMS = {
    name: (lambda buffer: (soundfile.write(buffer, SOUND, 16_000, **how), buffer.getvalue())[1])(io.BytesIO())
    for name, how in {
        "flac": {"format": "FLAC"},
        "wav": {"format": "WAV"},
        "float wav": {"format": "WAV", "subtype": "FLOAT"},
        "ogg": {"format": "OGG"},
        "mp3": {"format": "MP3"},
        **{form.lower(): {"format": form} for form in ("AIFF", "AU", "CAF", "NIST", "RF64", "W64")},
    }.items()
}
FORMS["mp4"] = b"\0\0\0\x10ftypM4A " + bytes(4) + b"\0\0\0\x10mdat" + bytes(8) + b"\0\0\0\x10moov" + bytes(8)
FORMS["webm"] = bytes.fromhex("1a45dfa3 84 42868101 18538067 88") + bytes(8)
FORMS["wma"] = (
    bytes.fromhex("3026b2758e66cf11") + bytes(16) + bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365") + bytes(99)
)
DAMAGE = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=20)


@pytest.fixture
def without_ffmpeg(monkeypatch, tmp_path):
    """A machine on which ffmpeg is not found. Starting it for each of so many files would take minutes."""
    monkeypatch.setenv("PATH", str(tmp_path))


@MANY
@given(form=st.sampled_from(sorted(FORMS)), damage=DAMAGE, kept=st.floats(0.01, 1))
def test_damaged_audio_is_refused_or_finite(without_ffmpeg, form, damage, kept):
    content = bytearray(FORMS[form])
    for place, value in damage:
        content[int(place * len(content))] = value
    del content[int(kept * len(content)) :]
    try:
        audio = read_audio(io.BytesIO(bytes(content)), 16_000)
    except AudioError:
        return
    assert audio.samples.dtype == np.float32
    assert audio.samples.ndim == 1
    assert np.isfinite(audio.samples).all()


def test_a_header_that_claims_an_age_of_sound_allocates_nothing():
    content = bytearray(FORMS["flac"])
    content[21:26] = bytes([content[21] | 0x0F, 0xFF, 0xFF, 0xFF, 0xFF])  # samples in all, 36 bits of STREAMINFO
    with pytest.raises(AudioError, match=r"cut off: 4000 of 68719476735 samples"):
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


@MANY
@given(state=st.sampled_from(STATES), damage=st.one_of(st.just([]), DAMAGE), kept=st.floats(0.01, 1))
@example(state=STATES[2], damage=[(0.0, 71)], kept=0.125)  # struct.error
def test_a_checkpoint_is_refused_and_runs_nothing(place, state, damage, kept):
    content = bytearray(state)
    for spot, value in damage:
        content[int(spot * len(content))] = value
    del content[int(kept * len(content)) + 1 :]
    file = place / "checkpoint.pt"
    file.write_bytes(bytes(content))
    with pytest.raises(StableQuantError, match=r"^\S*checkpoint\.pt: [^\n]*; [^\n]*$"):
        import_checkpoint(str(file), place / "imported")
    assert not MARK.exists()
    assert not (place / "imported").exists()


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def bundle(place) -> Path:
    folder = place / "bundle"
    folder.mkdir()
    shutil.copyfile(DEMO / "config.json", folder / "config.json")
    write_front_end(folder, read_front_end(DEMO))
    return folder


@MANY
@given(
    sums=st.one_of(JSON, st.dictionaries(st.one_of(TEXT, st.just("../outside/secret.wav")), JSON, max_size=5)),
    rest=st.one_of(st.just({}), st.dictionaries(TEXT, JSON, max_size=3)),
)
def test_a_bundles_record_of_anything_is_refused(bundle, sums, rest):
    (bundle / RECORD).write_text(json.dumps({**rest, "sha256": sums}), encoding="utf-8", errors="surrogatepass")
    with pytest.raises(StableQuantError):
        read_bundle(bundle)


def test_a_bundles_record_leads_to_nothing_outside(place, bundle):
    """Of a record that is right but for one name more, which is told with the checksum of what it leads to."""
    (bundle / RECORD).unlink(missing_ok=True)
    sums = checksums(bundle)
    within = []

    @MANY
    @given(name=PATHS)
    def read(name):
        leads_to = bundle / name.replace("\0", "")
        known = checksum(leads_to) if leads_to.is_file() else "0" * 64
        record = {"sha256": {**sums, name: known}}
        (bundle / RECORD).write_text(json.dumps(record), encoding="utf-8", errors="surrogatepass")
        opened = read_bundle(bundle)
        try:
            check(opened.folder, opened.record)
        except StableQuantError:
            return
        assert (bundle / name).resolve().is_relative_to(bundle.resolve())
        within.append(name)

    (bundle / "a.wav").write_bytes((place / "inside/a.wav").read_bytes())
    (bundle / "away").symlink_to(place / "outside")
    read()
    assert within, "every record was refused"
    with pytest.raises(StableQuantError, match="leads out of the bundle"):
        check(bundle, {"sha256": {"away/secret.wav": checksum(place / "outside/secret.wav")}})


SHORT_AND_LONG = [np.zeros(samples, dtype=np.float32) for samples in (100, 16_000 * 40)]


def reads_nothing(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A network that gives one frame, the blank."""
    return {"logits": np.zeros((len(tensors["input_values"]), 1, 1), dtype=np.float32)}


VALUES = st.one_of(JSON, st.integers(-(10**30), 10**30), st.floats(), st.just([]), st.just({}), st.just([[]]))


@MANY
@given(
    name=st.sampled_from([*FILES, RECORD]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), VALUES), min_size=1, max_size=3),
    whole=st.one_of(st.none(), st.tuples(VALUES)),
)
def test_a_bundle_that_holds_anything_is_read_or_refused(bundle, name, changes, whole):
    """Its checksums are right: whoever made it may have written anything."""
    with tempfile.TemporaryDirectory(dir=bundle.parent) as temporary:
        folder = Path(temporary)
        contents = {file: read_json(bundle / file) for file in FILES}
        contents[RECORD] = {"samples": [{"file": "a.wav", "hypotheses": {"openvino": "x"}}], "method": "stablequant"}
        for place, value in changes:
            keys = list(contents[name])
            contents[name][keys[int(place * len(keys))]] = value
        if whole:
            contents[name] = whole[0]
        for file in FILES:
            (folder / file).write_text(json.dumps(contents[file]), encoding="utf-8", errors="surrogatepass")
        record = contents[RECORD]
        if isinstance(record, dict):
            record = {"sha256": checksums(folder), **record}
        (folder / RECORD).write_text(json.dumps(record), encoding="utf-8", errors="surrogatepass")
        try:
            opened = read_bundle(folder)
            decoder = opened.family.decoder(folder, {"model": reads_nothing})
        except StableQuantError as error:
            assert str(folder) in str(error)
            return
        front_end = opened.family.writing(folder)
        assert isinstance(front_end.vocabulary.decode(np.arange(40)), str)
        assert isinstance(front_end.spell("what is said"), str)
        assert front_end.sample_rate == opened.family.sample_rate(folder) > 0
        assert front_end.epsilon >= 0
        assert read_footprint(folder / "config.json").hop > 0
        assert isinstance(opened.family.usage(folder), str)
        assert all(decoder.transcribe(audio, 30, 1e8, 1) == [] for audio in SHORT_AND_LONG)
        assert all(isinstance(sample["file"], str) for sample in opened.samples)


SIZES = st.one_of(st.integers(1, 12), st.integers(-(10**30), 10**30), st.floats(), st.booleans(), st.none(), TEXT)


@MANY
@given(
    key=st.sampled_from(["conv_kernel", "conv_stride", "conv_dim"]),
    place=st.integers(0, 6),
    size=SIZES,
    more=st.one_of(st.just([]), st.lists(SIZES, max_size=2)),
)
def test_convolutions_of_any_size_are_read_or_refused(key, place, size, more):
    """Audio that is too short is padded for them, which must not take all memory."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for file in FILES:
            if (DEMO / file).is_file():
                (folder / file).write_bytes((DEMO / file).read_bytes())
        config = read_json(DEMO / "config.json")
        config[key] = [*config[key][:place], size, *config[key][place + 1 :], *more]
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8", errors="surrogatepass")
        try:
            decoder = family_of(folder).decoder(folder, {"model": reads_nothing})
        except StableQuantError as error:
            assert str(folder) in str(error)
            return
        assert 0 < family_of(folder).writing(folder).shortest_samples <= LONGEST_FRAME
        assert all(decoder.transcribe(audio, 30, 1e8, 1) == [] for audio in SHORT_AND_LONG)


def write_foreign(folder: Path, loaded: Loaded, backend: str, fill: Callable[[Path], object]) -> Path:
    """An engine's folder whose networks ``fill`` writes."""

    def build(into: Path) -> dict[str, str]:
        fill(into)
        return {"backend": backend}

    files = {name: loaded.folder / name for name in family_of(loaded.folder).files(loaded.folder)}
    write_engine(folder, files, build, lambda *_: precision_table([], [], {}))
    return folder


@SOME
@given(content=st.binary(max_size=400), backend=st.sampled_from(["openvino", "onnxruntime"]))
def test_a_foreign_engine_file_is_refused(place, tiny, content, backend):
    name = {"openvino": "model.xml", "onnxruntime": "model.onnx"}[backend]
    folder = write_foreign(place / f"engine-{backend}", tiny, backend, lambda into: (into / name).write_bytes(content))
    with pytest.raises(StableQuantError, match=name.replace(".", r"\.")):
        load_engine(folder, 1)


BATCH = [1, 1, 8]
PLAN = {
    "backend": "tensorrt-rtx",
    "version": "1",
    "compute_capabilities": ["8.6"],
    "profile": {"batch": BATCH, "samples": [400, 16_000, 600_000]},
}
PROFILES: list = [
    *({}, 5, None, [BATCH], {"samples": BATCH}),  # no limits of the batch
    *({"batch": batch} for batch in (8, None, "8", [1, 8], ["1", "1", "8"], [1, 1, 8, 8], {"max": 8})),
    *({"batch": BATCH, "samples": samples} for samples in (600_000, None, [400, 16_000], [400, None, 600_000])),
]
SETTINGS: list[dict] = [
    *({"profile": profile} for profile in PROFILES),
    *({"compute_capabilities": capabilities} for capabilities in (None, "8.6", [8.6])),
    *({"version": None}, {"backend": "openvino", "floating": "8"}),
]


@pytest.mark.parametrize("content", [[], {}, None, {"backend": 3}, *(PLAN | setting for setting in SETTINGS)])
def test_an_engines_description_of_anything_is_refused(place, content):
    (place / "engine.json").write_text(json.dumps(content))
    with pytest.raises(StableQuantError, match=r"engine\.json: not an engine's description; build the engine again"):
        backend_of(place)


@pytest.mark.parametrize("name", ["openvno", "../openvino", "tensorrt_rtx", "backend", ""])
def test_an_engine_of_an_unknown_backend_is_refused_with_those_that_are_known(place, name):
    """No module is imported by a name that a stranger wrote."""
    (place / "engine.json").write_text(json.dumps(PLAN | {"backend": name}))
    with pytest.raises(
        StableQuantError, match=rf"engine\.json: there is no backend '{name}'; known are openvino, onnxruntime"
    ):
        backend_of(place)


def test_an_intact_engines_description_is_read(place):
    (place / "engine.json").write_text(json.dumps(PLAN))
    backend, description = backend_of(place)
    assert description == PLAN
    assert backend.max_batch(description) == 8


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize(("output", "axes"), [("logits", 2), ("sum", 3)])
def test_a_network_that_is_no_recognisers_is_refused(place, tiny, backend, output, axes):
    shape = ["batch", "samples", 1][:axes]
    audio = helper.make_tensor_value_info("input_values", TensorProto.FLOAT, shape[:2])
    found = helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)
    nodes = [helper.make_node("Abs", ["input_values"], [output])]
    if axes == 3:
        last = helper.make_node(
            "Constant", [], ["last"], value=helper.make_tensor("last", TensorProto.INT64, [1], [-1])
        )
        nodes = [last, helper.make_node("Unsqueeze", ["input_values", "last"], [output])]
    graph = helper.make_graph(nodes, "g", [audio], [found])
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), place / "other.onnx")
    signatures = family_of(tiny.folder).signatures(tiny.folder)
    request = Request({"model": place / "other.onnx"}, signatures, {}, {"floating": "float32"}, all_int8=True)
    build = partial(backend_named(backend, place).build, request)
    folder = write_foreign(place / f"other-{backend}-{output}-{axes}", tiny, backend, build)
    with pytest.raises(StableQuantError, match=rf"model\.\w+: its .* are input_values \(2 axes\), {output} \({axes}"):
        load_engine(folder, 1)


def test_a_network_of_open_shape_and_without_names_is_refused(place, tiny):
    audio = ov.opset13.parameter(ov.PartialShape.dynamic(), ov.Type.f32)
    model = ov.Model([ov.opset13.abs(audio)], [audio], "nameless")
    folder = write_foreign(place / "nameless", tiny, "openvino", lambda into: ov.save_model(model, into / "model.xml"))
    with pytest.raises(
        StableQuantError, match=r"model\.xml: its .* are \w+ \(any number of axes\), .* a recogniser has"
    ):
        load_engine(folder, 1)


@pytest.mark.parametrize("where", ["initializer", "node", "branch"])
def test_a_graph_that_reads_weights_from_elsewhere_is_refused(place, tiny, where):
    (place / "outside/weights").write_bytes(b"\0" * 64)  # beside the engine's folder is outside
    weight = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[16])
    onnx.external_data_helper.set_external_data(_filled(weight), "../outside/weights")
    add = helper.make_node("Add", ["input_values", "weight"], ["logits"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [16]) for name in ("input_values", "logits")]
    constant = helper.make_node("Constant", [], ["weight"], value=weight)
    branch = helper.make_graph([constant, add], "branch", [], values[1:])
    nodes = {
        "initializer": [add],
        "node": [constant, add],
        "branch": [helper.make_node("If", ["wanted"], ["logits"], then_branch=branch, else_branch=branch)],
    }
    wanted = helper.make_tensor("wanted", TensorProto.BOOL, [], [True])
    initializers = [weight] if where == "initializer" else [wanted]
    graph = helper.make_graph(nodes[where], "g", values[:1], values[1:], initializers)
    content = helper.make_model(graph).SerializeToString()
    folder = write_foreign(
        place / f"external-{where}", tiny, "onnxruntime", lambda into: (into / "model.onnx").write_bytes(content)
    )
    with pytest.raises(StableQuantError, match=r"model\.onnx: it reads weights from another file; do not use it"):
        load_engine(folder, 1)


def test_json_as_deep_as_no_stack_is_refused(place):
    (place / "deep.json").write_text("[" * 100_000)
    with pytest.raises(StableQuantError, match=r"deep\.json: not readable as JSON"):
        read_json(place / "deep.json")


def test_settings_that_name_one_list_again_and_again_are_refused():
    shared: list = []
    for _ in range(40):
        shared = [shared, shared]
    with pytest.raises(ValueError, match="settings"):
        plain({"model": shared})


def _filled(tensor: TensorProto) -> TensorProto:
    tensor.raw_data = b"\0" * 64
    return tensor
