"""Hostile bundles: read or refused, whatever their files hold, and nothing outside them is looked at."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from checkout import DEMO
from hostile import MANY, PATHS, TEXT, write_inside_and_outside
from hypothesis import given
from hypothesis import strategies as st

from stablequant.bundle.read_bundle import RECORD, check, read_bundle
from stablequant.errors import StableQuantError
from stablequant.recognisers.ctc.front_end import write_front_end
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.wav2vec2.family import FILES, read_front_end
from stablequant.recognisers.wav2vec2.memory import LONGEST_FRAME, read_footprint
from stablequant.storage.files import checksum, read_json
from stablequant.workflow.provenance import checksums

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return write_inside_and_outside(tmp_path_factory.mktemp("place"))


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
        front_end = opened.family.front_end(folder)
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
        assert 0 < family_of(folder).front_end(folder).shortest_samples <= LONGEST_FRAME
        assert all(decoder.transcribe(audio, 30, 1e8, 1) == [] for audio in SHORT_AND_LONG)


def write_cached(repository: Path, files: dict[str, bytes]) -> Path:
    """The snapshot of a repository in the cache of the Hugging Face hub, whose files are links into its blobs."""
    snapshot = repository / "snapshots/0123456789abcdef0123456789abcdef01234567"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for name, content in files.items():
        blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / name).symlink_to(Path("../../blobs", blob.name))
    return snapshot


def test_a_bundle_in_the_cache_of_the_hub_reads_its_own_blobs_only(tmp_path):
    own = write_cached(tmp_path / "models--own", {"a.wav": b"sound", "changed.wav": b"other"})
    other = write_cached(tmp_path / "models--other", {"b.wav": b"sound"})
    sums = {"a.wav": hashlib.sha256(b"sound").hexdigest()}
    assert (own / "a.wav").is_symlink()
    check(own, {"sha256": sums})
    (tmp_path / "by-link").symlink_to(own)
    check(tmp_path / "by-link", {"sha256": sums})
    with pytest.raises(StableQuantError, match=r"changed\.wav: the file was changed"):
        check(own, {"sha256": {"changed.wav": sums["a.wav"]}})
    (own / "foreign.wav").symlink_to(other / "b.wav")
    (own / "beside.wav").symlink_to("../../refs")
    (tmp_path / "models--own/refs").write_bytes(b"sound")
    for name in ("foreign.wav", "beside.wav", "../../blobs/../refs"):
        with pytest.raises(StableQuantError, match="leads out of the bundle"):
            check(own, {"sha256": {name: sums["a.wav"]}})
    own.parent.rename(tmp_path / "models--own/elsewhere")
    with pytest.raises(StableQuantError, match="leads out of the bundle"):
        check(tmp_path / "models--own/elsewhere" / own.name, {"sha256": sums})
