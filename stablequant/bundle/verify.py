"""Whether a bundle is what it was, and whether this machine hears in it what was heard when it was made."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stablequant.bundle.transcribe import load_bundle
from stablequant.bundle.write_bundle import RECORD, check, read_bundle
from stablequant.corpora.audio import LONGEST
from stablequant.errors import StableQuantError


@dataclass(frozen=True)
class Reheard:
    """A stored utterance, recognised again.

    Attributes
    ----------
    file: its audio, in the bundle
    stored, found: what was heard when the bundle was made, and now
    """

    file: str
    stored: str
    found: str

    @property
    def same(self) -> bool:
        return self.stored == self.found


def verify(folder: Path, backend: str, threads: int = 0) -> tuple[int, str, Iterator[Reheard]]:
    """Check every file of a bundle; return their number, the arithmetic here, and the samples as they are recognised.

    Raises
    ------
    StableQuantError
        when a file is missing or was changed, or the engine cannot run here.
    """
    bundle = read_bundle(folder)
    check(folder, bundle.record)
    recogniser = load_bundle(folder, threads, chunk_seconds=LONGEST, backend=backend)  # whole, as the evaluation heard
    samples = [s for s in bundle.samples if backend in s["hypotheses"]]
    for sample in samples:
        if sample["file"] not in bundle.record["sha256"]:
            raise StableQuantError(folder / RECORD, f"no checksum of '{sample['file']}'", "copy the bundle again")

    def hear() -> Iterator[Reheard]:
        for sample in samples:
            yield Reheard(
                sample["file"], sample["hypotheses"][backend], recogniser.transcribe(folder / sample["file"]).text
            )

    return len(bundle.record["sha256"]), recogniser.arithmetic, hear()
