"""List the utterances of a split that can be recognised and scored."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stablequant.corpora.audio import Audio, AudioError, check_is_file, is_addressed, read_audio
from stablequant.corpora.channels import channel_of
from stablequant.corpora.draw import balanced_order
from stablequant.corpora.entries import Manifest, ManifestEntry, Rejection, RowError, composed, read_lines
from stablequant.corpora.folders import transcript_files
from stablequant.corpora.front_end import FrontEnd
from stablequant.corpora.parts import TOLERANCE, seconds_of
from stablequant.corpora.respelled import Respelled, shown
from stablequant.corpora.utterance import Utterance
from stablequant.errors import StableQuantError
from stablequant.progress import progress
from stablequant.storage.files import checksum

EXAMPLES = 5  # of rejected utterances that are printed


@dataclass(frozen=True)
class DrawnPart:
    """A part of a split that is used: ``seconds`` of audio, drawn with ``seed`` and balanced by speaker."""

    seconds: float
    seed: int


class Decoded(NamedTuple):
    """What was found of a file: its audio without the samples, their number at the recogniser's rate, its checksum."""

    audio: Audio
    samples: int
    sha256: str


def list_utterances(
    manifest: Manifest, front_end: FrontEnd, part: DrawnPart | None = None
) -> tuple[list[Utterance], list[Rejection]]:
    """Decode every file of ``manifest`` once and join it with its transcript, spelled as the recogniser writes.

    Returns the usable utterances, and the rejected entries with the reasons, in the order of their lines. One warning
    each is logged for audio that has another sample rate than the recogniser's, has several channels, or is not quite
    as its header or the manifest says, and one if transcripts contain characters outside the vocabulary. One message
    tells what was left out of transcripts, or replaced. If a ``part`` is wanted, only as many entries are decoded as it
    takes, and one message tells how much that is.

    Raises
    ------
    StableQuantError
        when a file of transcripts cannot be read.
    """
    utterances, rejections = [], list(manifest.rejections)
    heard: list[Audio] = []
    lengths = []
    lines: dict[str, int] = {}
    channels = {entry.channel for entry in manifest.entries}
    transcripts: dict[Path, dict[str, str]] = {}
    respelled = Respelled(front_end)

    @cache  # in a split that is drawn, the parts of a recording do not follow each other
    def decode(path: Path) -> Decoded:
        audio = read_audio(path, front_end.sample_rate)
        return Decoded(replace(audio, samples=audio.samples[:0].copy()), len(audio.samples), checksum(path))

    missing = part.seconds * front_end.sample_rate if part else np.inf
    for entry in progress(_drawn(manifest, part), label="checking audio"):
        if missing <= 0:
            break
        try:
            utterance, audio = _check(manifest, entry, respelled, transcripts, decode, channels)
            if lines.setdefault(utterance.key, entry.line) != entry.line:
                raise RowError(f"the same audio is on line {lines[utterance.key]} too")
        except (AudioError, RowError) as error:
            rejections.append(Rejection(entry.line, entry.path, str(error)))
        else:
            missing -= utterance.samples
            utterances.append(utterance)
            lengths.append((entry, utterance))
            mixed = audio.channels if utterance.channel is None else 1
            heard.append(replace(audio, channels=mixed))
    if part:
        utterances.sort(key=lambda u: lines[u.key])
        _tell(utterances, len(manifest.entries), part, front_end.sample_rate)
    _warn(heard, front_end.sample_rate)
    _warn_of_parts(utterances, front_end.sample_rate)
    unknown = front_end.unknown(u.transcript for u in utterances)
    if unknown:
        logging.warning("characters outside the vocabulary, counted as errors: %s", shown(unknown))
    respelled.log()
    _compare_lengths(lengths, front_end.sample_rate)
    return _named_apart(utterances, manifest.root), sorted(rejections, key=lambda rejection: rejection.line)


def _drawn(manifest: Manifest, part: DrawnPart | None) -> Sequence[ManifestEntry]:
    """The entries in the order in which they are decoded."""
    if part is None:
        return manifest.entries
    return balanced_order(manifest.entries, lambda entry: entry.speaker or speaker_in(manifest.file(entry)), part.seed)


def _tell(utterances: Sequence[Utterance], total: int, part: DrawnPart, sample_rate: int) -> None:
    """Log how much of a split is used."""
    seconds = sum(u.samples for u in utterances) / sample_rate
    speakers = {u.speaker for u in utterances}
    logging.info(
        "using %d of %d utterances, %.0f s where %g s are wanted, of %s, drawn with seed %d",
        *(len(utterances), total, seconds, part.seconds),
        "unknown speakers" if None in speakers else f"{len(speakers)} speakers",
        part.seed,
    )


def _compare_lengths(lengths: Sequence[tuple[ManifestEntry, Utterance]], sample_rate: int) -> None:
    """Warn of files that are longer or shorter than the duration that their rows give from the start on."""
    parts = [(entry.part, u) for entry, u in lengths if entry.part and not entry.part.start]
    given = [(part, part.length, u) for part, u in parts if part.length is not None and not part.in_samples]
    whole = [(length, u) for _, length, u in given if u.start is None]
    found = {
        "longer than the duration that the manifest gives, such as %s: only that much of them is read": [
            u for _, _, u in given if u.start is not None
        ],
        "longer than the duration that the manifest gives, such as %s: it names no segment without a start; they are "
        "read to the end": [u for length, u in whole if u.samples / sample_rate > length + TOLERANCE],
        "shorter than the duration that the manifest gives, such as %s: is their audio complete?": [
            u for length, u in whole if u.samples / sample_rate < length - TOLERANCE
        ],
    }
    for sentence, files in found.items():
        if files:
            logging.warning("%d files are " + sentence, len(files), files[0].path)


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


def _warn_of_parts(utterances: Sequence[Utterance], sample_rate: int) -> None:
    """Log how many files with several parts are decoded anew for each."""
    parts: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        if utterance.start is not None:
            parts.setdefault(utterance.path, []).append(utterance)
    anew = [path for path, own in parts.items() if len(own) > 1 and not is_addressed(Path(path), sample_rate)]
    if anew:
        logging.warning(
            "%d files are decoded anew for each of their parts, such as %s; WAV or FLAC at %d Hz saves this time",
            *(len(anew), anew[0], sample_rate),
        )


def _named_apart(utterances: list[Utterance], root: Path) -> list[Utterance]:
    """Replace names that occur more than once by paths relative to ``root``, with start and end of a part."""

    def by_path(u: Utterance) -> Utterance:
        place = _place(u.start, u.stop, u.channel)
        return replace(u, utterance=Path(u.path).relative_to(root).as_posix() + place)

    names = Counter(u.utterance for u in utterances)
    named = [u if names[u.utterance] == 1 else by_path(u) for u in utterances]
    unique = len({u.utterance for u in named}) == len(named)
    return named if unique else [by_path(u) for u in utterances]  # the path of one may be the name of another


def _place(start: float | None, stop: float | None, channel: int | None) -> str:
    """What the place in a recording adds to the name of an utterance; nothing for the whole file."""
    return ("" if start is None else f"-{start}-{stop}") + ("" if channel is None else f"-channel{channel}")


def _check(
    manifest: Manifest,
    entry: ManifestEntry,
    respelled: Respelled,
    transcripts: dict[Path, dict[str, str]],
    decode: Callable[[Path], Decoded],
    channels: Collection[int | str | None],
) -> tuple[Utterance, Audio]:
    """The utterance of ``entry``, and what was found of its file.

    ``decode`` decodes a file; ``channels`` are all that the manifest names. Raises
    AudioError or RowError if the entry cannot be used.
    """
    path, front_end = manifest.file(entry), respelled.front_end
    transcript = _transcript_beside(path, transcripts) if entry.transcript is None else entry.transcript
    audio, decoded, sha256 = decode(path)
    if entry.samples not in (None, audio.file_samples):
        raise AudioError(f"{audio.file_samples} samples, the manifest says {entry.samples}")
    place = seconds_of(entry.part, audio.file_samples, audio.file_rate) if entry.part else None
    start, stop = place or (None, None)
    channel = None if entry.channel is None else channel_of(entry.channel, channels, audio.channels)
    samples = decoded
    if place:
        first, last = (min(round(seconds * front_end.sample_rate), decoded) for seconds in place)
        samples = last - first
    if samples < front_end.shortest_samples:
        raise AudioError(f"{samples} samples are too few, a frame needs {front_end.shortest_samples}")
    if samples > front_end.longest_samples:
        raise AudioError(
            f"{samples} samples are too many, the recogniser takes {front_end.longest_samples}; cut it, or name "
            "segments"
        )
    spelled = respelled.spell(transcript)
    if not spelled:
        raise AudioError("the transcript is empty")
    name = entry.name or path.stem + _place(start, stop, channel)
    speaker = entry.speaker or speaker_in(path)
    return Utterance(name, str(path), samples, spelled, sha256, speaker, start, stop, channel), audio


def _transcript_beside(path: Path, transcripts: dict[Path, dict[str, str]]) -> str:
    """The transcript of the file ``path`` in a file of ``transcripts``, which are read once a folder.

    Raises AudioError if there is none, or if the file is not there: without its transcript it need not be decoded.
    """
    check_is_file(path)
    if path.parent not in transcripts:
        transcripts[path.parent] = read_transcripts(path.parent)
    transcript = transcripts[path.parent].get(composed(path.stem))
    if transcript is None:
        raise AudioError(f"no transcript for '{path.stem}' in a .trans.txt file beside it")
    return transcript


def speaker_in(path: Path) -> str | None:
    """The speaker whom the path of a file names; None if it has another form.

    The form is that of LibriSpeech, ``speaker/chapter/speaker-chapter-utterance``, and, with underscores, of
    Multilingual LibriSpeech.
    """
    match = re.fullmatch(r"(.+)([-_])(.+)\2[^-_]+", path.stem)
    return match[1] if match and path.parts[-3:-1] == (match[1], match[3]) else None


def read_transcripts(folder: Path) -> dict[str, str]:
    """Transcripts by utterance from the ``*.trans.txt`` files in ``folder``, with lines ``utterance words ...``.

    This is LibriSpeech's format. The names of the utterances are composed (NFC). Raises `StableQuantError` if a file
    cannot be read, or if two transcripts of an utterance differ.
    """
    transcripts: dict[str, str] = {}
    for file in transcript_files(folder):
        for number, line in enumerate(read_lines(file), start=1):
            name, *rest = line.split(maxsplit=1) or [""]
            utterance = composed(name)
            words = rest[0] if rest else ""
            if transcripts.setdefault(utterance, words) != words:
                raise StableQuantError(
                    f"{file}, line {number}", f"another transcript of '{utterance[:60]}'", "keep one of them"
                )
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


def check_part(manifest: Manifest, kept: int, rejections: Sequence[Rejection], allowed: float, listed_in: Path) -> None:
    """`check_rejections` where only a part of ``manifest`` was heard, of which ``kept`` utterances can be used.

    Rows that cannot be read are a share of the manifest, audio that cannot be used is a share of the part.
    """
    source, rows = manifest.source or manifest.root, list(manifest.rejections)
    check_rejections(source, rows, len(manifest.entries) + len(rows), allowed, listed_in)
    heard = [rejection for rejection in rejections if rejection not in rows]
    check_rejections(source, heard, kept + len(heard), allowed, listed_in)


def describe_rejections(manifest: Path, rejections: Sequence[Rejection], total: int) -> list[str]:
    """Lines for people: how many of ``total`` utterances were rejected for which reason, and `EXAMPLES` of them."""
    reasons = Counter(re.sub(r"'[^']*'|\d+(\.\d+)?", "...", rejection.reason) for rejection in rejections)
    return [
        f"{manifest}: {len(rejections)} of {total} utterances rejected",
        *(f"  {count} times: {reason}" for reason, count in reasons.most_common(2 * EXAMPLES)),
        *(f"  line {r.line}: '{r.path}': {r.reason}" for r in rejections[:EXAMPLES]),
        *([f"  and {len(rejections) - EXAMPLES} more"] if len(rejections) > EXAMPLES else []),
    ]
