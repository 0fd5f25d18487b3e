"""List the utterances of a split that can be recognised and scored."""

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

from stablequant.corpora.audio import AudioError, read_audio
from stablequant.corpora.manifests import Manifest, ManifestEntry, transcript_files
from stablequant.corpora.respelled import Respelled, shown
from stablequant.corpora.utterance import Rejection, Utterance
from stablequant.corpora.writing import Writing
from stablequant.errors import StableQuantError
from stablequant.progress import progress
from stablequant.storage.files import checksum


def list_utterances(manifest: Manifest, writing: Writing) -> tuple[list[Utterance], list[Rejection]]:
    """Decode every file of ``manifest`` once and join it with its transcript, spelled as the recogniser writes.

    Returns the usable utterances, and the rejected entries with the reasons. One warning is logged if audio has another
    sample rate than the recogniser's, and one if transcripts contain characters outside its vocabulary. One message
    tells what was left out of transcripts, or replaced.

    Raises
    ------
    StableQuantError
        when a file of transcripts cannot be read.
    """
    utterances, rejections = [], []
    rates: Counter[int] = Counter()
    transcripts: dict[Path, dict[str, str]] = {}
    respelled = Respelled(writing)
    for entry in progress(manifest.entries, label="checking audio"):
        try:
            utterance, rate = _check(manifest.root, entry, respelled, transcripts)
        except AudioError as error:
            rejections.append(Rejection(entry.line, entry.path, str(error)))
        else:
            utterances.append(utterance)
            rates[rate] += rate != writing.sample_rate
    if rates.total():
        found = ", ".join(f"{rate} Hz" for rate in sorted(+rates))
        logging.warning("%d files at %s are resampled to %d Hz", rates.total(), found, writing.sample_rate)
    unknown = writing.unknown(u.transcript for u in utterances)
    if unknown:
        logging.warning("characters outside the vocabulary, counted as errors: %s", shown(unknown))
    respelled.log()
    return _named_apart(utterances, manifest.root), rejections


def _named_apart(utterances: list[Utterance], root: Path) -> list[Utterance]:
    """Replace names that occur more than once by paths relative to ``root``."""
    names = Counter(u.utterance for u in utterances)
    return [
        u if names[u.utterance] == 1 else replace(u, utterance=Path(u.path).relative_to(root).as_posix())
        for u in utterances
    ]


def _check(
    root: Path, entry: ManifestEntry, respelled: Respelled, transcripts: dict[Path, dict[str, str]]
) -> tuple[Utterance, int]:
    """The utterance of ``entry`` and the sample rate of its file in Hz; raise AudioError if it cannot be used."""
    path, writing = root / entry.path, respelled.writing
    if not path.resolve().is_relative_to(root.resolve()):
        raise AudioError("a symbolic link leads out of the root")
    audio = read_audio(path, writing.sample_rate)
    if entry.samples not in (None, audio.file_samples):
        raise AudioError(f"{audio.file_samples} samples, the manifest says {entry.samples}")
    samples = len(audio.samples)
    if samples < writing.shortest_samples:
        raise AudioError(f"{samples} samples are too few, a frame needs {writing.shortest_samples}")
    transcript = entry.transcript
    if transcript is None:
        if path.parent not in transcripts:
            transcripts[path.parent] = read_transcripts(path.parent)
        transcript = transcripts[path.parent].get(path.stem)
        if transcript is None:
            raise AudioError(f"no transcript for '{path.stem}' in a .trans.txt file beside it")
    spelled = respelled.spell(transcript)
    if not spelled:
        raise AudioError("the transcript is empty")
    return Utterance(path.stem, str(path), samples, spelled, checksum(path)), audio.file_rate


def read_transcripts(folder: Path) -> dict[str, str]:
    """Transcripts by utterance from the ``*.trans.txt`` files in ``folder``, with lines ``utterance words ...``.

    This is LibriSpeech's format. Raises `StableQuantError` if a file cannot be read.
    """
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
    """Raise `StableQuantError` if too many of ``total`` utterances were rejected.

    Too many are: all, or more than the share ``allowed`` (0 to 1). The message names the first one and the file
    ``listed_in``, which lists all.
    """
    if len(rejections) <= allowed * total and len(rejections) < total:
        return
    first = rejections[0]
    raise StableQuantError(
        f"{manifest}, line {first.line}",
        f"'{first.path}': {first.reason} ({len(rejections)} of {total} utterances rejected, all in {listed_in})",
        "repair or remove them, or raise 'max_rejected' in the config",
    )
