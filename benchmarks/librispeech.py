"""Folders laid out as LibriSpeech, whole or in part, as benchmarks take them."""

from pathlib import Path

from stablequant.corpora.folders import audio_files
from stablequant.corpora.front_end import FrontEnd
from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import read_manifest
from stablequant.corpora.utterance import Utterance
from stablequant.corpora.write_manifest import manifest_of


def listed(root: Path, front_end: FrontEnd, manifest: Path) -> list[Utterance]:
    """The utterances below ``root`` that a recogniser takes; ``manifest`` is written for them."""
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(manifest_of(root.resolve()))
    utterances, _ = list_utterances(read_manifest(manifest, None, front_end.labels), front_end)
    return utterances


def part_of(root: Path, folder: Path, count: int | None) -> Path:
    """``root``, or links in ``folder`` to ``count`` of its recordings, from all speakers alike, and its transcripts."""
    if count is None:
        return root.resolve()
    files = audio_files(root)
    by_speaker: dict[str, list[Path]] = {}
    for file in files:
        by_speaker.setdefault(file.relative_to(root).parts[0], []).append(file)
    turns = [file for turn in range(len(files)) for own in by_speaker.values() for file in own[turn : turn + 1]]
    for file in turns[:count]:
        link = folder / file.relative_to(root)
        link.parent.mkdir(parents=True, exist_ok=True)
        for source in (file, *file.parent.glob("*.trans.txt")):
            target = link.parent / source.name
            if not target.exists():
                target.symlink_to(source.resolve())
    return folder.resolve()
