"""Word errors of an engine, and whether the loss by quantization survives a language model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stablequant.bundle.read_bundle import Bundle
from stablequant.bundle.transcribe import searching
from stablequant.corpora.utterance import Utterance
from stablequant.engines.evaluate_engine import Evaluation, evaluate
from stablequant.engines.running import Stopwatch, load_engine, max_batch
from stablequant.errors import StableQuantError
from stablequant.recognisers.decoder import BeamSearch
from stablequant.scoring.intervals import degradation_interval


@dataclass(frozen=True)
class Judged:
    """What one engine recognised: by itself, and with a language model if there was one."""

    alone: Evaluation
    searched: Evaluation | None


class Judge:
    """Recognises a split with one engine, without and with ``search``.

    ``engine`` is a folder with an engine of the recogniser in ``bundle``, and ``budget`` is in bytes, as in
    `stablequant.recognisers.decoder.Decoder.batches`. ``arithmetic`` is that of the quantized layers.

    Raises `StableQuantError` if the engine or the search cannot run.
    """

    def __init__(self, bundle: Bundle, engine: Path, search: BeamSearch | None, threads: int, budget: float) -> None:
        networks, self.arithmetic = load_engine(engine, threads)
        self._clock, self._budget, self._most = Stopwatch(), budget, max_batch(engine)
        self._decoder = bundle.family.decoder(engine, self._clock.timing(networks))
        self._searching = None if search is None else searching(self._decoder, search, bundle)
        self._rate = bundle.family.sample_rate(bundle.folder)

    def judge(self, utterances: Sequence[Utterance]) -> Judged:
        """Recognise ``utterances``; see `stablequant.engines.evaluate_engine.evaluate`."""
        batches = self._decoder.batches(utterances, self._budget, self._most)
        alone = evaluate(self._decoder, self._clock, utterances, batches, self._rate)
        if self._searching is None:
            return Judged(alone, None)
        return Judged(alone, evaluate(self._searching, self._clock, utterances, batches, self._rate))


def reference_engine(bundle: Bundle, engine: Path, given: Path | None) -> Path | None:
    """The folder of the fp32 engine: ``given``, or the workflow's beside the bundle; None if that is not there.

    Raises `StableQuantError` if ``given`` is no engine with the vocabulary of the bundle.
    """
    found = given or bundle.folder.resolve().parent / "engines" / engine.name / "fp32"
    if not (found / "engine.json").is_file():
        if given is None:
            return None
        raise StableQuantError(given, "not the folder of an engine", "name results/MODEL/engines/BACKEND/fp32")
    files = [name for name in bundle.family.files(bundle.folder) if (bundle.folder / name).is_file()]
    if any(not (found / name).is_file() or _differ(found / name, bundle.folder / name) for name in files):
        raise StableQuantError(found, "the engine of another recogniser", "name the fp32 engine of the same model")
    return found


def _differ(one: Path, other: Path) -> bool:
    return one.read_bytes() != other.read_bytes()


def describe(quantized: Judged, fp32: Judged | None) -> list[str]:
    """Lines for people: word error rates in percent, and what quantization costs, with 95 % intervals."""
    rows = [("fp32", fp32), ("quantized", quantized)]
    lines = [f"{'WER in %':<12}{'alone':>8}{'with language model':>22}"]
    lines += [f"{name:<12}{_wer(j.alone):>8}{_wer(j.searched):>22}" for name, j in rows if j is not None]
    if fp32 is not None:
        lines += [
            _cost("alone", quantized.alone, fp32.alone),
            _cost("with the language model", quantized.searched, fp32.searched),
        ]
    return lines


def _wer(found: Evaluation | None) -> str:
    return "" if found is None else f"{found.scored.wer:.2f}"


def _cost(how: str, quantized: Evaluation | None, fp32: Evaluation | None) -> str:
    assert quantized is not None
    assert fp32 is not None
    cost = quantized.scored.wer - fp32.scored.wer
    low, high = degradation_interval(quantized.scored, fp32.scored, seed=0)
    verdict = "a loss" if low > 0 else "a gain" if high < 0 else "not significant"
    return f"quantization {how}: {cost:+.2f} points ({low:+.2f} to {high:+.2f}): {verdict}"
