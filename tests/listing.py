"""Speech as corpora lay it out, and transcripts as they lie there and as they are listed."""

import json
from pathlib import Path

import soundfile
from conftest import DEMO, write_speech

from stablequant.corpora.list_utterances import list_utterances, read_transcripts
from stablequant.corpora.manifests import read_manifest
from stablequant.recognisers.wav2vec2.family import read_front_end

FRONT_END = read_front_end(DEMO)


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


def expected(speech: list[Path]) -> list[str]:
    """The transcripts that LibriSpeech keeps beside the audio."""
    return [read_transcripts(file.parent)[file.stem] for file in speech]


def listed(manifest: Path, **settings) -> list[str]:
    """Transcripts of a manifest of which nothing may be rejected."""
    utterances, rejections = list_utterances(read_manifest(manifest, **settings), FRONT_END)
    assert not rejections, rejections
    return [u.transcript for u in utterances]
