"""How fast this machine recognises, timed on a little audio, so that a run can say how long it will take."""

import logging
import time
from typing import TypedDict

from stablequant.recognisers.recogniser import Recogniser
from stablequant.search.split import Split, context_of

AUDIO_SECONDS = 20.0  # of calibration audio that are timed
LIMIT_SECONDS = 60.0  # after which a slow machine has been timed well enough


class Speed(TypedDict):
    """What was measured.

    Attributes
    ----------
    seconds_per_audio_second: of one fp32 pass, with the threads of one job
    pass_seconds: of one pass over the whole split at that speed
    """

    seconds_per_audio_second: float
    pass_seconds: float


def measure_speed(recogniser: Recogniser, split: Split) -> Speed:
    """Time the recognition of a part of ``split`` in fp32, after a first batch that does not count."""
    batches = split.sample(AUDIO_SECONDS)
    total = sum(u.samples for u in split.utterances) / split.sample_rate
    heard = spent = 0.0
    for number, batch in enumerate([batches[0], *batches]):
        start = time.perf_counter()
        state, context = recogniser.load(batch), context_of(recogniser, batch)
        recogniser.recognise(state, 0, context)
        if number:
            spent += time.perf_counter() - start
            heard += sum(u.samples for u in batch) / split.sample_rate
        if spent > LIMIT_SECONDS:
            break
    logging.info("%.2f s for a second of audio", spent / heard)
    return Speed(seconds_per_audio_second=spent / heard, pass_seconds=spent / heard * total)
