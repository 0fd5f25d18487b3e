"""All layers quantized together: measured as one would by hand, and mended in the order that was found costly."""

import numpy as np
import pandas as pd
import pytest
import torch
from calibrating import Calibrated, calibrate
from recognising import split_in

from stablequant.corpora.utterance import score
from stablequant.quantization.int8 import QMAX, dequantized, quantize_weight
from stablequant.quantization.int8_weights import RoundedWeight
from stablequant.quantization.least_error import mse_range
from stablequant.quantization.simulation import fake_quantized
from stablequant.recognisers.operations import operation_of
from stablequant.scoring.divergence import divergence
from stablequant.search.check_combination import OTHERS, check_combination, step_table
from stablequant.search.combination import Choice, Combination
from stablequant.search.trials import Experiment, Trial, run_trials

pytestmark = pytest.mark.slow_unit

GRID = [99.9, 99.0]
SUSPECTS = ["cnn02", "head"]


@pytest.fixture(scope="module")
def planted(demo) -> dict[str, RoundedWeight]:
    """Weights of some layers, each at random one level beside the nearest or on it."""
    draw = np.random.default_rng(0)
    weights = {}
    for module in demo.modules:
        if module.layer in ("cnn02", "transformer03", "head"):
            levels, scales = quantize_weight(operation_of(demo.model, module).weight.numpy())
            moved = levels.astype(int) + draw.integers(-1, 2, levels.shape)
            weights[module.module] = moved.clip(-QMAX, QMAX).astype(np.int8), scales
    return weights


@pytest.fixture(scope="module")
def calibrated(demo, demo_utterances, planted, tmp_path_factory) -> Calibrated:
    split = split_in(demo, demo_utterances[:12])
    return calibrate(demo.recogniser(), split, tmp_path_factory.mktemp("calibrated"), rounded=planted)


@pytest.fixture(scope="module")
def combination(calibrated) -> Combination:
    return Combination(calibrated.recogniser, calibrated.modules, calibrated.prepared, calibrated.calibration)


def by_hand(calibrated: Calibrated, choice: Choice) -> tuple[float, float]:
    """WER and divergence, utterance by utterance, of the model as transformers runs it."""
    modules = [m for m in calibrated.modules if m.layer not in choice.float_layers]
    ranges = {
        m.activation: mse_range(calibrated.prepared[m.activation], choice.percentiles.get(m.layer, 100.0))
        for m in modules
    }
    split, recogniser = calibrated.calibration.split, calibrated.recogniser
    hypotheses, nats, frames = {}, 0.0, 0
    model, planted = recogniser.model, calibrated.calibration.rounded
    nearest = {m.module: quantize_weight(operation_of(model, m).weight.numpy()) for m in modules}
    weights = {name: torch.from_numpy(dequantized(*weight)) for name, weight in (nearest | dict(planted)).items()}
    with fake_quantized(model, modules, ranges, {}, weights), torch.inference_mode():
        for utterance in split.utterances:
            logits = model(recogniser.load([utterance])["hidden"]).logits
            (rows,) = torch.log_softmax(logits, dim=-1).numpy()
            hypotheses[utterance.path] = recogniser.front_end.vocabulary.decode(rows.argmax(axis=-1))
            nats += divergence(calibrated.calibration.reference.posteriors[utterance.path], rows)
            frames += len(rows)
    return score(split.utterances, hypotheses).wer, nats / frames


def test_variants_are_what_one_would_measure_by_hand(calibrated, combination):
    base = Choice({"cnn02": 99.0, "transformer04": 99.9})
    variants = [
        (["head"], base.without(["head"])),
        (["cnn02"], base.clipped(["cnn02"], 99.9)),
        (["transformer04", "transformer02"], base.clipped(["transformer04", "transformer02"], 98.0)),
        (["cnn01", "cnn05"], base.without(["cnn01", "cnn05"])),
    ]
    for (_, choice), outcome in zip(variants, combination.vary(base, variants), strict=True):
        wer, nats = by_hand(calibrated, choice)
        assert outcome.wer == pytest.approx(wer)
        assert outcome.divergence == pytest.approx(nats, rel=0.02)


def test_a_layer_alone_is_what_one_would_measure_by_hand(calibrated):
    """With the planted weights, which lie on other levels than the nearest."""
    others = [name for name in calibrated.recogniser.layers if name != "transformer03"]
    own = calibrated.of("transformer03")
    ranges = {m.activation: mse_range(calibrated.prepared[m.activation], 100.0) for m in own}
    trial = Trial(ranges, calibrated.calibration)
    run_trials(calibrated.recogniser, [Experiment(own, [trial])], calibrated.calibration)
    wer, nats = by_hand(calibrated, Choice({}).without(others))
    assert trial.outcome().wer == pytest.approx(wer)
    assert trial.outcome().divergence == pytest.approx(nats, rel=1e-3)


def test_layers_that_were_not_searched_get_the_cut_off_of_least_divergence_on_a_part_of_the_audio(combination):
    searched = Choice({"cnn03": 99.0}, frozenset(["cnn04"]))
    choice, steps = check_combination(combination, searched, GRID, SUSPECTS, 100, 10, keep_float=True)
    table = step_table(steps)
    together = table[table["step"] == "searched together"]
    assert together["percentile"].tolist() == [100.0, *GRID]
    assert together["utterances"].between(3, 6).all(), "about ten seconds of a dozen utterances of some three each"
    best = together.loc[together["divergence"].idxmin(), "percentile"]
    assert choice.percentiles == {"cnn03": 99.0} | {
        name: best for name in combination.layers if name not in ("cnn03", "cnn04")
    }
    assert choice.float_layers == {"cnn04"}
    assert table["step"].tolist()[-1] == "all layers"
    assert table["utterances"].tolist()[-1] == 12


def test_nothing_is_searched_together_where_each_was_searched(combination):
    searched = Choice(dict.fromkeys(combination.layers, 99.9))
    choice, steps = check_combination(combination, searched, GRID, SUSPECTS, 100, 10, keep_float=True)
    assert choice is searched
    assert [(step.step, step.kept) for step in steps] == [("all layers", True)]


def test_costly_layers_are_searched_again_and_as_a_last_resort_stay_floating_point(calibrated, combination):
    model = calibrated.recogniser.model
    weights = {
        "cnn02": model.hubert.feature_extractor.conv_layers[1].conv.weight.numel(),
        "head": model.lm_head.weight.numel(),
    }
    searched = Choice({"cnn03": 99.0}, frozenset(["cnn04"]))
    choice, steps = check_combination(combination, searched, GRID, SUSPECTS, -100, 10, keep_float=True)
    table = step_table(steps)
    assert choice.float_layers == {"cnn04", *SUSPECTS}, "nothing is ever below -100 points, and the others never stay"
    without = table[table["step"] == "without"]
    assert without["layers"].tolist() == [*SUSPECTS, OTHERS]
    again = table[table["step"] == "searched again"]
    order = without.sort_values("divergence")["layers"].tolist()
    assert again["layers"].drop_duplicates().tolist() == order, "the costliest first"
    for name, tried in again.groupby("layers"):
        assert tried["percentile"].tolist() == [100.0, *GRID]
        assert set(tried.loc[tried["kept"], "divergence"]) <= {tried["divergence"].min()}, name
    kept = again[again["kept"]].set_index("layers")["percentile"].to_dict()
    first = table.loc[(table["step"] == "searched together") & table["kept"], "percentile"].item()
    assert kept, "no new cut-off was taken"
    assert choice.percentiles["cnn02"] == kept.get("cnn02", first)
    assert choice.percentiles["transformer01"] == choice.percentiles["cnn07"] == kept.get(OTHERS, first)
    assert choice.percentiles["cnn03"] == 99.0, "was searched, and was not suspected"
    together = table.loc[table["step"] == "all layers", "divergence"].iloc[0]
    spared = (together - without.set_index("layers")["divergence"][SUSPECTS]) / pd.Series(weights)
    stayed = table[table["step"] == "left in floating point"]["layers"].tolist()
    assert stayed == spared.sort_values(ascending=False).index.tolist(), "the one that spares most for its size first"
    assert table.iloc[-1]["divergence"] < together


def test_quantized_layers_stay_so_where_the_config_says_so(combination):
    choice, steps = check_combination(combination, Choice({}), GRID, [], -100, 10, keep_float=False)
    assert not choice.float_layers
    assert {step.step for step in steps} == {"searched together", "all layers", "without", "searched again"}
