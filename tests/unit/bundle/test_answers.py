"""What the service's answers hold."""

from stablequant.bundle.answers import segment
from stablequant.recognisers.decoder import Word


def test_a_segment_that_repeats_itself_is_known_by_its_compression():
    """By the limit of 2.4 beyond which OpenAI's interface calls it failed."""
    said = [Word("hello", float(i), i + 0.5) for i in range(20)]
    assert segment(0, said)["compression_ratio"] > 2.4 > segment(0, said[:3])["compression_ratio"]
    assert segment(0, said)["avg_logprob"] == 0
    assert segment(0, [Word("hello", 0, 1, 0.0)])["avg_logprob"] < -5
