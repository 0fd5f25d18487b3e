"""What the screen measures of each layer, on a part of the audio."""

import numpy as np
import pytest
from fake_recogniser import LAYERS, MODULES, FakeCalibrated, FakeRecogniser, calibrate_fake, songs, split_of

from stablequant.search.probe_layer import probe_layers
from stablequant.search.screen_layers import screen_layers


@pytest.fixture(scope="module", params=[False, True], ids=["frames", "tokens along fp32's text"])
def calibrated(request, tmp_path_factory) -> FakeCalibrated:
    """Thirty utterances in batches of some, their hidden values cached."""
    recogniser = FakeRecogniser(songs(30), guided=request.param)
    return calibrate_fake(recogniser, tmp_path_factory.mktemp("screen"), split_of(recogniser), cache_mb=10)


@pytest.mark.parametrize("seconds", [2.5, 1000])
def test_a_layer_is_measured_on_the_part_as_its_probe_measures_it_there(calibrated, seconds):
    """The oracle takes the part out of what each probe measured of every utterance."""
    recogniser, calibration, split = calibrated.recogniser, calibrated.calibration, calibrated.split
    chosen = {u.key for batch in split.other_sample(seconds) for u in batch}
    part = [number for number, u in enumerate(split.utterances) if u.key in chosen]
    assert (len(part) < 8) == (seconds < 1000)
    positions = sum(split.utterances[number].samples // 2 for number in part)
    reference = calibration.reference.errors
    screened = screen_layers(recogniser, MODULES, calibrated.largest, calibration, seconds)
    assert [row["layer"] for row in screened] == LAYERS
    for row in screened:
        (probe,) = probe_layers(recogniser, MODULES, [row["layer"]], calibrated.largest, calibration, 5.0)
        assert row["divergence"] == pytest.approx(sum(probe.divergences[n] for n in part) / positions, rel=1e-4)
        more = np.array([probe.errors[n] - reference.errors[n] for n in part])
        assert row["lost"] == more[more > 0].sum()
        assert row["words"] == reference.words[part].sum()
        assert row["utterances"] == len(part)
    assert any(row["lost"] for row in screened)
    assert len({row["divergence"] for row in screened}) == len(LAYERS)
