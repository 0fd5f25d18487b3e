"""Speech as corpora lay it out, and transcripts as they lie there and as they are listed."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from checkout import DEMO, PROJECT

from stablequant.corpora.list_utterances import list_utterances, read_transcripts
from stablequant.corpora.manifests import read_manifest
from stablequant.corpora.utterance import Utterance
from stablequant.recognisers.wav2vec2.family import read_front_end

FRONT_END = read_front_end(DEMO)


def write_speech(root: Path, manifest: Path, count: int, split: str = "calibration") -> list[Path]:
    """Lay ``count`` of the demo's utterances out under ``root`` with transcripts and a manifest; return the files."""
    lines, files = [], []
    listed = (PROJECT / f"tsv/demo-{split}.tsv").read_text().splitlines()
    source = PROJECT / listed[0]
    for line in listed[1 : count + 1]:
        path, _ = line.split("\t")
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, root / path)
        for transcript in (source / path).parent.glob("*.trans.txt"):
            shutil.copyfile(transcript, (root / path).parent / transcript.name)
        lines.append(line)
        files.append(root / path)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text("\n".join([str(root), *lines]) + "\n")
    return files


def write_librispeech(folder: Path) -> list[Path]:
    """Four utterances, ``LibriSpeech/dev-clean/speaker/chapter/utterance.flac``, and their ``tsv/dev-clean.tsv``."""
    return write_speech(folder / "LibriSpeech/dev-clean", folder / "tsv/dev-clean.tsv", 4)


def write_jsonl(folder: Path, speech: list[Path]) -> Path:
    """NeMo's manifest."""
    rows = [
        json.dumps({"audio_filepath": str(f), "duration": soundfile.info(f).duration, "offset": 0, "text": t.lower()})
        for f, t in zip(speech, expected(speech), strict=True)
    ]
    (folder / "split.jsonl").write_text("\n".join(rows) + "\n")
    return folder / "split.jsonl"


def samples_of(utterance: Utterance) -> np.ndarray:
    """Its whole file, float32 ``(samples,)``."""
    return soundfile.read(utterance.path, dtype="float32")[0]


def write_as_parts(folder: Path, utterances: Sequence[Utterance]) -> Path:
    """A table of the utterances as parts of one file, ``long.flac``."""
    pieces = [samples_of(utterance) for utterance in utterances]
    soundfile.write(folder / "long.flac", np.concatenate(pieces), 16_000)
    ends = np.cumsum([0, *map(len, pieces)])
    rows = [f"long.flac,{a},{b},{u.transcript}" for a, b, u in zip(ends, ends[1:], utterances, strict=False)]
    (folder / "long.csv").write_text("\n".join(["path,start_samples,end_samples,text", *rows]) + "\n")
    return folder / "long.csv"


def expected(speech: list[Path]) -> list[str]:
    """The transcripts that LibriSpeech keeps beside the audio."""
    return [read_transcripts(file.parent)[file.stem] for file in speech]


def listed(manifest: Path, **settings) -> list[str]:
    """Transcripts of a manifest of which nothing may be rejected."""
    utterances, rejections = list_utterances(read_manifest(manifest, **settings), FRONT_END)
    assert not rejections, rejections
    return [u.transcript for u in utterances]
