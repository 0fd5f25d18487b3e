"""Networks of OpenVINO and ONNX Runtime, whoever made them, judged by the words that they lose against others."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from stablequant.corpora.utterance import Utterance
from stablequant.engines import onnxruntime, openvino
from stablequant.engines.evaluate_engine import evaluate
from stablequant.engines.running import Stopwatch
from stablequant.recognisers.ctc.decoding import GRAPH, SIGNATURE
from stablequant.recognisers.family import Network
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.sizes import MEGABYTE
from stablequant.scoring.intervals import degradation_interval
from stablequant.scoring.word_errors import WordErrors, degradation

OURS = "stablequant"
AGAINST = (  # columns for the points of WER lost and the ends of their interval; the method they are lost against
    ("degradation", "ci_low", "ci_high", "fp32"),
    ("behind", "behind_low", "behind_high", OURS),
)


def load_network(folder: Path, threads: int) -> tuple[dict[str, Network], str]:
    """The network in ``folder``, which may be no engine of the workflow's, by its graph's name; and its arithmetic."""
    library, file = network_in(folder)
    network, arithmetic = library.load_network(file, SIGNATURE, threads)
    return {GRAPH: network}, arithmetic


def network_in(folder: Path) -> tuple[ModuleType, Path]:
    """The library that runs the network in ``folder``, OpenVINO where it is OpenVINO's, and the network's file."""
    own = folder / f"{GRAPH}.xml"
    return (openvino, own) if own.is_file() else (onnxruntime, folder / f"{GRAPH}.onnx")


def network_bytes(folder: Path) -> int:
    """Bytes of the network in ``folder``."""
    _, file = network_in(folder)
    return sum(part.stat().st_size for part in (file, file.with_suffix(".bin")) if part.is_file())


def recognise_split(
    checkpoint: Path, networks: Mapping[str, Network], utterances: Sequence[Utterance], batch_mb: float
) -> WordErrors:
    """Word errors of ``networks`` with the front end of ``checkpoint``."""
    family, clock = family_of(checkpoint), Stopwatch()
    decoder = family.decoder(checkpoint, clock.timing(networks))
    batches = decoder.batches(utterances, batch_mb * MEGABYTE)
    return evaluate(decoder, clock, utterances, batches, family.sample_rate(checkpoint)).scored


def points_lost(errors: WordErrors, scored: Mapping[str, WordErrors], seed: int) -> dict[str, object]:
    """The columns of `AGAINST` and ``ci_over`` for one method's ``errors``; ``scored`` are by method."""
    row: dict[str, object] = {}
    for column, low, high, other in AGAINST:
        row[column] = degradation(errors, scored[other])
        row[low], row[high] = degradation_interval(errors, scored[other], seed)
    row["ci_over"] = scored[AGAINST[0][-1]].drawn
    return row
