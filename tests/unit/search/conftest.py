"""What several tests of the search start from."""

import pytest
from fake_recogniser import FakeCalibrated, FakeRecogniser, calibrate_fake, songs, split_of


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory) -> FakeCalibrated:
    """Forty utterances, each a batch."""
    recogniser = FakeRecogniser(songs(40))
    return calibrate_fake(recogniser, tmp_path_factory.mktemp("calibrated"), split_of(recogniser, budget=1))
