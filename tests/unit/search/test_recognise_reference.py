"""The fp32 pass: what it writes, counts and keeps."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from fake_recogniser import (
    KEY,
    LAYERS,
    MODULES,
    VOCABULARY,
    FakeRecogniser,
    by_hand,
    calibrate_fake,
    posteriors_by_hand,
    shout,
    songs,
    split_of,
)
from safetensors.numpy import load_file

from stablequant.corpora.utterance import score
from stablequant.errors import StableQuantError
from stablequant.quantization.collecting import Preparation
from stablequant.search import hidden_values
from stablequant.search.recognise_reference import Cache, Files, recognise_reference
from stablequant.search.reference import load_reference


@pytest.fixture(autouse=True)
def worth_reading(monkeypatch):
    """Else none of the tiny layers would be stored."""
    monkeypatch.setattr(hidden_values, "MACS_PER_BYTE", 0)


def test_what_fp32_recognises_is_written_utterance_by_utterance(tmp_path):
    recogniser = FakeRecogniser(songs())
    calibrated = calibrate_fake(recogniser, tmp_path)
    utterances = calibrated.split.utterances
    hypotheses = {path: VOCABULARY.decode(by_hand(a).argmax(axis=-1)) for path, a in recogniser.audio.items()}
    errors = score(utterances, hypotheses)
    assert errors.errors.sum() == 4
    summary = json.loads(calibrated.files.summary.read_text())
    assert summary == {
        "wer": pytest.approx(100 * 4 / errors.words.sum()),
        "words": int(errors.words.sum()),
        "precision": "float32",
        "utterances": [
            {"path": u.path, "words": int(words), "errors": int(wrong), "hypothesis": hypotheses[u.path]}
            for u, words, wrong in zip(utterances, errors.words, errors.errors, strict=True)
        ],
    }
    posteriors = load_file(calibrated.files.posteriors)
    assert posteriors.keys() == recogniser.audio.keys()
    for path, samples in recogniser.audio.items():
        assert posteriors[path] == pytest.approx(posteriors_by_hand(samples), abs=1e-3)
    reference = calibrated.calibration.reference
    assert reference.errors.errors.tolist() == errors.errors.tolist()
    assert reference.errors.words.tolist() == errors.words.tolist()
    assert reference.precision == "float32"
    assert reference.guides == {}
    assert reference.guides_of(calibrated.split.batches[0]) == [None] * len(calibrated.split.batches[0])
    assert {name: h.signed for name, h in calibrated.prepared.items()} == {m.activation: False for m in MODULES}
    assert calibrated.prepared is calibrated.histograms


def test_the_tokens_of_a_guided_recogniser_are_kept(tmp_path):
    recogniser = FakeRecogniser(songs(4), guided=True)
    calibrated = calibrate_fake(recogniser, tmp_path)
    expected = {}
    for utterance in calibrated.split.utterances:
        state, context = recogniser.load([utterance]), recogniser.context([utterance.samples])
        (found,) = recogniser.recognise(state, 0, context)
        expected[utterance.path] = found.guide
    reference = calibrated.calibration.reference
    assert reference.guides == expected
    batch = calibrated.split.batches[0]
    assert reference.guides_of(batch) == [expected[u.path] for u in batch]
    rows = json.loads(calibrated.files.summary.read_text())["utterances"]
    assert {row["path"]: row["guide"] for row in rows} == expected


@pytest.mark.parametrize("resumable", [4, 2])
def test_both_kinds_of_histograms_come_from_one_pass(tmp_path, resumable):
    scales = {"deep": np.linspace(0.5, 3, 6, dtype=np.float32)}
    recogniser = FakeRecogniser(songs(), resumable=resumable)
    calibrated = calibrate_fake(recogniser, tmp_path, preparation=Preparation(scales, True, True))
    total = sum(len(batch) * max(u.samples for u in batch) for batch in calibrated.split.batches)
    assert recogniser.samples == dict.fromkeys(LAYERS, total), "a layer ran more than once"
    read: dict[str, list[np.ndarray]] = {}
    for samples in recogniser.audio.values():
        one: dict[str, np.ndarray] = {}
        by_hand(samples, read=one)
        for name, values in one.items():
            read.setdefault(name, []).append(values)
    for name, parts in read.items():
        values = np.concatenate(parts, axis=1)
        plain, prepared = calibrated.histograms[name], calibrated.prepared[name]
        divided = values / scales.get(name, np.ones(1))[:, None]
        assert (plain.signed, plain.split) == (False, False)
        assert (prepared.signed, prepared.split) == (name not in ("front", "near"), name == "front")
        assert plain.amax == pytest.approx(np.abs(values).max(), rel=1e-5)
        assert prepared.amax == pytest.approx(np.abs(divided).max(), rel=1e-5)
        assert plain.counts.sum() == prepared.counts.sum() == values.size, "padding was counted"


def test_as_many_layers_are_kept_as_there_is_room_for(tmp_path, caplog):
    """A state behind the first layer is 5 numbers a frame, later ones 7; a frame has two samples."""
    recogniser = FakeRecogniser(songs())
    samples = sum(len(batch) * max(u.samples for u in batch) for batch in split_of(recogniser).batches)
    later = 7 * 4 / 2 * samples / 1e6
    kept = {}
    for name, cache_mb in (("one", 1.01 * later), ("two", 2.01 * later), ("half", 1.01 * later), ("all", 1)):
        (tmp_path / name).mkdir()
        with caplog.at_level("INFO"):
            found = calibrate_fake(FakeRecogniser(songs()), tmp_path / name, cache_mb=cache_mb, half=name == "half")
        kept[name] = sorted(found.calibration.hidden_values.layers)
        content = json.loads((tmp_path / name / "hidden_values.json").read_text())
        assert content["precision"] == ("float16" if name == "half" else "float32")
        assert content["checkpoint"] == KEY["checkpoint"]
    assert [len(kept[name]) for name in ("one", "two", "half", "all")] == [1, 2, 2, 4]
    assert caplog.messages[0] == f"caching the inputs of {LAYERS[kept['one'][0]]}: 0 MB"
    assert caplog.messages[-1] == "caching the inputs of mix, near, deep, head: 0 MB"


def test_sizes_are_told_in_megabytes_and_a_full_disk_is_refused(tmp_path, monkeypatch, caplog):
    class Large(FakeRecogniser):
        """Counts a thousand times the audio, as far as memory is concerned."""

        def context(self, samples):
            found = FakeRecogniser.context(self, samples)
            if list(samples) != [self.front_end.sample_rate]:  # the second of silence by which layers are measured
                found.samples *= 100_000
            return found

    recogniser = Large(songs())
    split = split_of(FakeRecogniser(songs()))
    files = Files(tmp_path / "reference.json", tmp_path / "posteriors.safetensors", tmp_path / "hidden_values.json")
    samples = 1e5 * sum(len(batch) * max(u.samples for u in batch) for batch in split.batches)
    with caplog.at_level("INFO"):
        recognise_reference(recogniser, split, files, Cache(KEY, 1e9, half=False))
    megabytes = (5 + 7 + 7 + 7) * 2 * samples / 1e6
    assert caplog.messages == [f"caching the inputs of mix, near, deep, head: {megabytes:.0f} MB"]
    caplog.clear()
    with caplog.at_level("INFO"):
        recognise_reference(recogniser, split, files, Cache(KEY, 1e9, half=True))
    assert caplog.messages[0] == f"caching the inputs of mix, near, deep, head: {megabytes / 2:.0f} MB"
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=int(megabytes * 1e6) - 5_000_000))
    with pytest.raises(StableQuantError) as error:
        recognise_reference(recogniser, split, files, Cache(KEY, 1e9))
    assert str(error.value) == (
        f"{tmp_path}: only {megabytes - 5:.0f} MB are free, but the cached hidden values need {megabytes:.0f} MB; "
        "free some, or lower 'disk_mb' of 'cache' in the config"
    )
    recognise_reference(recogniser, split, files, Cache(KEY, 1e9, half=True))


def test_no_room_for_any_layer_is_told_where_some_was_given(tmp_path, caplog):
    (tmp_path / "some").mkdir()
    with caplog.at_level("INFO"):
        calibrate_fake(FakeRecogniser(songs()), tmp_path / "some", cache_mb=1e-6)
    assert caplog.messages[:2] == [
        "config key 'cache: disk_mb': 1e-06 MB cannot hold any layer's hidden values; all probes start from the audio",
        "caching the inputs of no layer: 0 MB",
    ]
    assert caplog.records[0].levelname == "WARNING"
    caplog.clear()
    with caplog.at_level("INFO"):
        calibrate_fake(FakeRecogniser(songs()), tmp_path)
    assert caplog.messages == ["caching the inputs of no layer: 0 MB"]


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_half_precision_is_verified_before_it_is_used(tmp_path, caplog):
    recogniser = FakeRecogniser(songs())
    shout(recogniser, split_of(recogniser).batches[-1][0])
    found = calibrate_fake(recogniser, tmp_path, cache_mb=1, half=True)
    assert 0 < len(found.calibration.hidden_values.layers) < 4
    told = [text for text in caplog.messages if text.startswith("half precision changes a hypothesis: ")]
    assert len(told) == 1 and "head" in told[0]
    (tmp_path / "whole").mkdir()
    found = calibrate_fake(recogniser, tmp_path / "whole", cache_mb=1)
    assert len(found.calibration.hidden_values.layers) == 4


@pytest.mark.parametrize(("seed", "chosen"), [(0, "bfloat16"), (6, "float32")])
def test_a_reduced_precision_keeps_no_hidden_values_and_is_taken_only_if_nothing_changes(
    tmp_path, caplog, seed, chosen
):
    with caplog.at_level("INFO"):
        found = calibrate_fake(FakeRecogniser(songs(seed=seed)), tmp_path, cache_mb=1, precision="bfloat16")
    assert found.calibration.reference.precision == chosen
    assert found.calibration.hidden_values.layers == []
    assert caplog.messages[0] == "hidden values are not cached: bfloat16 was verified only from the audio"
    assert not any("config key" in message for message in caplog.messages)


def test_a_run_that_fails_leaves_no_index_and_the_next_starts_anew(tmp_path):
    recogniser = FakeRecogniser(songs())
    calibrated = calibrate_fake(recogniser, tmp_path, cache_mb=1)
    before = load_reference(calibrated.files.summary, calibrated.files.posteriors)
    path = next(iter(recogniser.audio))
    whole = recogniser.audio[path].copy()
    recogniser.audio[path][7] = np.nan
    with pytest.raises(StableQuantError, match="the recogniser's activations: they contain NaN or infinity"):
        calibrate_fake(recogniser, tmp_path, calibrated.split, cache_mb=1)
    assert not calibrated.files.hidden_values.exists()
    recogniser.audio[path] = whole
    again = calibrate_fake(recogniser, tmp_path, calibrated.split, cache_mb=1)
    assert again.calibration.hidden_values.layers == [1, 2, 3, 4]
    assert again.calibration.reference.errors.errors.tolist() == before.errors.errors.tolist()


def test_posteriors_that_are_not_finite_are_refused_by_name(tmp_path):
    class Broken(FakeRecogniser):
        def recognise(self, state, first, context, guides=None):
            found = FakeRecogniser.recognise(self, state, first, context, guides)
            for one in found:
                one.log_posteriors[0, 0] = np.nan
            return found

    split = split_of(FakeRecogniser(songs()))
    with pytest.raises(StableQuantError, match=f"{split.batches[0][0].path}: the network's output contains NaN"):
        calibrate_fake(Broken(songs()), tmp_path, split)


def test_a_damaged_reference_is_refused(tmp_path):
    calibrated = calibrate_fake(FakeRecogniser(songs(2)), tmp_path)
    summary, posteriors = calibrated.files.summary, calibrated.files.posteriors
    posteriors.write_bytes(posteriors.read_bytes()[:-4])
    with pytest.raises(StableQuantError, match="damaged or incomplete"):
        load_reference(summary, posteriors)
    summary.write_text("{")
    with pytest.raises(StableQuantError, match="not readable as JSON"):
        load_reference(summary, posteriors)


def test_paired_recognises_again_in_bfloat16_but_takes_histograms_from_float32(tmp_path, caplog):
    """Seed 6 has an utterance whose words bfloat16 changes."""
    (tmp_path / "exact").mkdir()
    exact = calibrate_fake(FakeRecogniser(songs(seed=6)), tmp_path / "exact", cache_mb=1)
    recogniser = FakeRecogniser(songs(seed=6))
    with caplog.at_level("INFO"):
        found = calibrate_fake(recogniser, tmp_path, cache_mb=1, precision="paired")
    for name, histogram in exact.histograms.items():
        assert np.array_equal(found.histograms[name].counts, histogram.counts)
        assert found.histograms[name].amax == histogram.amax
    reduced = recogniser.reduced("bfloat16")
    expected = {}
    for number, batch in enumerate(found.split.batches):
        context = reduced.context([u.samples for u in batch])
        state = reduced.load(batch)
        for u, recognised in zip(batch, reduced.recognise(state, 0, context), strict=True):
            expected[u.path] = recognised.text
            assert np.array_equal(found.calibration.reference.posteriors[u.path], recognised.log_posteriors)
        for layer in found.calibration.hidden_values.layers:
            stored = found.calibration.hidden_values.load(layer, number)
            state = reduced.enter(stored)
            again = reduced.recognise(state, layer, context)
            assert [r.text for r in again] == [expected[u.path] for u in batch]
            assert np.array_equal(stored["hidden"], reduced.run(reduced.load(batch), 0, layer, context)["hidden"])
    summary = json.loads(found.files.summary.read_text())
    plain = json.loads(exact.files.summary.read_text())
    assert {row["path"]: row["hypothesis"] for row in summary["utterances"]} == expected
    assert expected != {row["path"]: row["hypothesis"] for row in plain["utterances"]}
    assert summary["precision"] == "bfloat16"
    told = f"the search computes in bfloat16: WER {summary['wer']:.2f} %, in float32 {plain['wer']:.2f} %"
    assert told in caplog.messages
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
