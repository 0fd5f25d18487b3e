"""List the utterances of a split that can be recognised and scored."""

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from stablequant.corpora.audio import Audio, AudioError, read_audio
from stablequant.corpora.manifests import Manifest, ManifestEntry, composed, transcript_files
from stablequant.corpora.respelled import Respelled, shown
from stablequant.corpora.utterance import Rejection, Utterance
from stablequant.corpora.writing import Writing
from stablequant.errors import StableQuantError
from stablequant.progress import progress
from stablequant.storage.files import checksum


def list_utterances(manifest: Manifest, writing: Writing) -> tuple[list[Utterance], list[Rejection]]:
    """Decode every file of ``manifest`` once and join it with its transcript, spelled as the recogniser writes.

    Returns the usable utterances, and the rejected entries with the reasons. One warning each is logged for audio that
    has another sample rate than the recogniser's, has several channels, or is not quite as its header says, and one if
    transcripts contain characters outside the vocabulary. One message tells what was left out of transcripts, or
    replaced.

    Raises
    ------
    StableQuantError
        when a file of transcripts cannot be read.
    """
    utterances, rejections = [], []
    heard: list[Audio] = []
    transcripts: dict[Path, dict[str, str]] = {}
    respelled = Respelled(writing)
    for entry in progress(manifest.entries, label="checking audio"):
        try:
            utterance, audio = _check(manifest, entry, respelled, transcripts)
        except AudioError as error:
            rejections.append(Rejection(entry.line, entry.path, str(error)))
        else:
            utterances.append(utterance)
            heard.append(replace(audio, samples=np.zeros(0, dtype=np.float32)))  # without them, for memory
    _warn(heard, writing.sample_rate)
    unknown = writing.unknown(u.transcript for u in utterances)
    if unknown:
        logging.warning("characters outside the vocabulary, counted as errors: %s", shown(unknown))
    respelled.log()
    return _named_apart(utterances, manifest.root), rejections


def _warn(heard: list[Audio], sample_rate: int) -> None:
    """Log what was done to the files so that they can be used."""
    rates = Counter(audio.file_rate for audio in heard if audio.file_rate != sample_rate)
    if rates:
        found = ", ".join(f"{rate} Hz" for rate in sorted(rates))
        logging.warning("%d files at %s are resampled to %d Hz", rates.total(), found, sample_rate)
    channels = Counter(audio.channels for audio in heard if audio.channels > 1)
    if channels:
        found = ", ".join(map(str, sorted(channels)))
        logging.warning("%d files with %s channels are mixed to one", channels.total(), found)
    for note, count in sorted(Counter(note for audio in heard for note in audio.notes).items()):
        logging.warning("%d files: %s", count, note)


def _named_apart(utterances: list[Utterance], root: Path) -> list[Utterance]:
    """Replace names that occur more than once by paths relative to ``root``."""
    names = Counter(u.utterance for u in utterances)
    return [
        u if names[u.utterance] == 1 else replace(u, utterance=Path(u.path).relative_to(root).as_posix())
        for u in utterances
    ]


def _check(
    manifest: Manifest, entry: ManifestEntry, respelled: Respelled, transcripts: dict[Path, dict[str, str]]
) -> tuple[Utterance, Audio]:
    """The utterance of ``entry`` and its audio; raise AudioError if it cannot be used."""
    path, writing = manifest.file(entry), respelled.writing
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
        transcript = transcripts[path.parent].get(composed(path.stem))
        if transcript is None:
            raise AudioError(f"no transcript for '{path.stem}' in a .trans.txt file beside it")
    spelled = respelled.spell(transcript)
    if not spelled:
        raise AudioError("the transcript is empty")
    return Utterance(path.stem, str(path), samples, spelled, checksum(path)), audio


def read_transcripts(folder: Path) -> dict[str, str]:
    """Transcripts by utterance from the ``*.trans.txt`` files in ``folder``, with lines ``utterance words ...``.

    This is LibriSpeech's format. The names of the utterances are composed (NFC). Raises `StableQuantError` if a file
    cannot be read.
    """
    transcripts = {}
    for file in transcript_files(folder):
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise StableQuantError(file, f"the transcripts cannot be read ({error})", "write them as UTF-8") from error
        for line in lines:
            utterance, _, words = line.partition(" ")
            transcripts[composed(utterance)] = words
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
