"""Verify a bundle: its files are unchanged, and this machine recognises its samples as before."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from stablequant.bundle.choose_engine import choose_engine
from stablequant.bundle.read_bundle import RECORD, check, read_bundle
from stablequant.bundle.transcribe import RecordingError
from stablequant.corpora.audio import AudioError, read_audio
from stablequant.engines.running import load_engine
from stablequant.errors import StableQuantError
from stablequant.recognisers.decoder import NotFiniteError


@dataclass(frozen=True)
class VerifiedSample:
    """A stored utterance that was recognised again.

    Attributes
    ----------
    file: its audio file in the bundle
    stored: the hypothesis when the bundle was made
    found: the hypothesis now
    """

    file: str
    stored: str
    found: str

    @property
    def same(self) -> bool:
        """Whether both hypotheses are equal."""
        return self.stored == self.found


class Verification(NamedTuple):
    """What was found of a bundle.

    Attributes
    ----------
    files: number of files that did not change
    backend: backend of the engine that ran
    arithmetic: arithmetic of that engine on this machine
    samples: recognises the samples one by one
    """

    files: int
    backend: str
    arithmetic: str
    samples: Iterator[VerifiedSample]


def verify(folder: Path, backend: str | None = None, threads: int = 0) -> Verification:
    """Check every file of a bundle but the card, then recognise its samples.

    ``backend`` is as in `stablequant.bundle.choose_engine.choose_engine`.

    Raises
    ------
    StableQuantError
        when a file is missing or was changed, or when the engine cannot run here.
    """
    bundle = read_bundle(folder)
    files = check(folder, bundle.record)
    engine = choose_engine(bundle, backend)
    loaded = load_engine(engine, threads)
    decoder = bundle.family.decoder(engine, loaded.networks)
    sample_rate = bundle.family.sample_rate(folder)
    samples = [s for s in bundle.samples if engine.name in s["hypotheses"]]
    for sample in samples:
        if sample["file"] not in bundle.record["sha256"]:
            raise StableQuantError(
                folder / RECORD, f"it has no checksum of '{sample['file']}'", "copy the bundle again"
            )

    def recognise(file: Path) -> str:
        """As in the evaluation: whole, and without times."""
        try:
            return decoder.recognise([read_audio(file, sample_rate).samples])[0]
        except AudioError as error:
            raise RecordingError(file, str(error)) from error
        except NotFiniteError as error:
            raise StableQuantError(folder, "its network's output contains NaN or infinity", "build it again") from error

    def hear() -> Iterator[VerifiedSample]:
        for sample in samples:
            yield VerifiedSample(sample["file"], sample["hypotheses"][engine.name], recognise(folder / sample["file"]))

    return Verification(files, engine.name, loaded.arithmetic, hear())
