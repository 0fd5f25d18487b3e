"""The utterances of a split: what can be recognised and scored."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import pandas as pd

from stablequant.corpora.audio import AudioError, read_audio
from stablequant.corpora.manifests import Manifest, ManifestEntry, transcript_files
from stablequant.errors import StableQuantError
from stablequant.progress import progress
from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.storage.files import checksum, read_table

MIN_SAMPLES = 400  # the feature extractor's window: a shorter utterance has no frame


@dataclass(frozen=True)
class Utterance:
    """``utterance``: its file's name, with the path below the root where several have it; ``path``: its audio;
    ``samples``: its length; ``transcript``: the reference words; ``sha256``: checksum of the audio's file."""

    utterance: str
    path: str
    samples: int
    transcript: str
    sha256: str


@dataclass(frozen=True)
class Rejection:
    """A manifest's entry that cannot be used, and why."""

    line: int
    path: str
    reason: str


def list_utterances(manifest: Manifest, front_end: FrontEnd) -> tuple[list[Utterance], list[Rejection]]:
    """Decode every file once and join it with its transcript, spelled as the recogniser writes.

    Audio at another rate than the recogniser's and transcripts that it can never write get one warning each.
    """
    utterances, rejections = [], []
    rates: Counter[int] = Counter()
    transcripts: dict[Path, dict[str, str]] = {}
    for entry in progress(manifest.entries, label="checking audio"):
        try:
            utterance, rate = _check(manifest.root, entry, front_end, transcripts)
        except AudioError as error:
            rejections.append(Rejection(entry.line, entry.path, str(error)))
        else:
            utterances.append(utterance)
            rates[rate] += rate != front_end.sample_rate
    if rates.total():
        found = ", ".join(f"{rate} Hz" for rate in sorted(+rates))
        logging.warning("%d files at %s are resampled to %d Hz", rates.total(), found, front_end.sample_rate)
    unknown = front_end.vocabulary.unknown(u.transcript for u in utterances)
    if unknown:
        listed = " ".join(f"{unit} ({count})" for unit, count in unknown.most_common(20))
        logging.warning("the recogniser can never write these of the transcripts, each counts as an error: %s", listed)
    return _named_apart(utterances, manifest.root), rejections


def _named_apart(utterances: list[Utterance], root: Path) -> list[Utterance]:
    names = Counter(u.utterance for u in utterances)
    return [
        u if names[u.utterance] == 1 else replace(u, utterance=Path(u.path).relative_to(root).as_posix())
        for u in utterances
    ]


def _check(
    root: Path, entry: ManifestEntry, front_end: FrontEnd, transcripts: dict[Path, dict[str, str]]
) -> tuple[Utterance, int]:
    """The utterance and its file's sample rate."""
    path = root / entry.path
    if not path.resolve().is_relative_to(root.resolve()):
        raise AudioError("a symbolic link leads out of the root")
    audio = read_audio(path, front_end.sample_rate)
    if entry.samples not in (None, audio.file_samples):
        raise AudioError(f"{audio.file_samples} samples, the manifest says {entry.samples}")
    samples = len(audio.samples)
    if samples < MIN_SAMPLES:
        raise AudioError(f"{samples} samples are too few, a frame needs {MIN_SAMPLES}")
    transcript = entry.transcript
    if transcript is None:
        if path.parent not in transcripts:
            transcripts[path.parent] = read_transcripts(path.parent)
        transcript = transcripts[path.parent].get(path.stem)
        if transcript is None:
            raise AudioError(f"no transcript for '{path.stem}' in a .trans.txt file beside it")
    spelled = front_end.vocabulary.spell(transcript)
    if not spelled:
        raise AudioError("the transcript is empty")
    return Utterance(path.stem, str(path), samples, spelled, checksum(path)), audio.file_rate


def read_transcripts(folder: Path) -> dict[str, str]:
    """Transcripts by utterance from the folder's ``*.trans.txt`` files, LibriSpeech's form: ``utterance words ...``."""
    transcripts = {}
    for file in transcript_files(folder):
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise StableQuantError(file, f"the transcripts cannot be read ({error})", "write them as UTF-8") from error
        for line in lines:
            utterance, _, words = line.partition(" ")
            transcripts[utterance] = words
    return transcripts


def check_rejections(manifest: Path, rejections: list[Rejection], total: int, allowed: float, listed_in: Path) -> None:
    """Raise `StableQuantError` when more than the share ``allowed`` of ``total`` utterances was rejected."""
    if len(rejections) <= allowed * total and len(rejections) < total:
        return
    first = rejections[0]
    raise StableQuantError(
        f"{manifest}, line {first.line}",
        f"'{first.path}': {first.reason} ({len(rejections)} of {total} utterances rejected, all in {listed_in})",
        "repair or remove them, or raise 'max_rejected' in the config",
    )


def check_apart(calibration: Sequence[Utterance], evaluation: Sequence[Utterance]) -> None:
    """Raise `StableQuantError` where ``evaluation`` holds audio of ``calibration``: it would judge what it decided."""
    heard = {u.sha256: u.path for u in calibration}
    shared = [u for u in evaluation if u.sha256 in heard]
    if shared:
        raise StableQuantError(
            shared[0].path,
            f"the calibration split holds the same audio, {heard[shared[0].sha256]} ({len(shared)} of "
            f"{len(evaluation)} evaluation utterances are such)",
            "leave them out of one of the splits",
        )


def table_of(rows: list[Utterance] | list[Rejection], columns: type[Utterance] | type[Rejection]) -> pd.DataFrame:
    """One row per dataclass, with the header even where there is none."""
    return pd.DataFrame([asdict(row) for row in rows], columns=[f.name for f in fields(columns)])


def read_utterances(path: Path) -> list[Utterance]:
    """Read ``utterances/{split}.tsv``."""
    table = read_table(path, text=("utterance", "path", "transcript", "sha256"))
    columns = (table[f.name].tolist() for f in fields(Utterance))
    return [Utterance(*row) for row in zip(*columns, strict=True)]
