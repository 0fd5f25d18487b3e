"""Recognisers as one has them of a bundle, without the engine of one."""

from pathlib import Path

from reading import Reading, reading_decoder
from recognising import Loaded, torch_network

from stablequant.bundle.read_bundle import Bundle
from stablequant.bundle.transcribe import Transcriber
from stablequant.corpora.audio import LONGEST
from stablequant.recognisers.family import Network
from stablequant.recognisers.registry import family_of


def transcriber(loaded: Loaded, network: Network | None = None, chunk_seconds: float = 30) -> Transcriber:
    """Of a checkpoint; ``network`` takes the place of its torch model."""
    decoder = loaded.decoder(network or torch_network(loaded.model))
    bundle = Bundle(loaded.folder, {}, family_of(loaded.folder))
    return Transcriber(bundle, decoder, "float32", batch_mb=100, chunk_seconds=chunk_seconds, max_utterances=1)


def reading_transcriber(
    folder: Path, network: Reading | None = None, batch_mb: float = 1, most: float = 4, longest_seconds: int = LONGEST
) -> Transcriber:
    """Of `Reading`, in chunks of ten seconds, at most ``most`` at once; ``folder`` is that of any checkpoint."""
    decoder, bundle = reading_decoder(network or Reading()), Bundle(folder, {}, family_of(folder))
    return Transcriber(bundle, decoder, "float32", batch_mb, 10, most, longest_seconds)
