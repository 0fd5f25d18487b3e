"""Write fairseq's manifests of a corpus: the root on the first line, then ``path TAB samples``.

python -m stablequant.corpora.write_manifest /data/LibriSpeech             tsv/dev-clean.tsv, tsv/test-clean.tsv, ...
python -m stablequant.corpora.write_manifest /data/LibriSpeech/dev-clean   tsv/dev-clean.tsv
"""

import argparse
import re
from pathlib import Path

from stablequant.corpora.audio import AudioError, file_samples
from stablequant.corpora.folders import audio_files
from stablequant.errors import StableQuantError
from stablequant.progress import progress
from stablequant.storage.files import write_text

PART = re.compile(r"(dev|test|train)-(clean|other)(-\d+)?")  # LibriSpeech's parts


def manifest_of(root: Path, *, keep_unreadable: bool = False) -> str:
    """Text of the manifest of all audio files below ``root``, sorted by path.

    ``keep_unreadable`` lists a file that cannot be read with 0 samples. `list_utterances` rejects it with the reason,
    so that it counts as one of the split's rejected rows.

    Raises
    ------
    StableQuantError
        when the folder does not exist or contains no audio, or, unless it is to be kept, when a file in it cannot be
        read.
    """
    if not root.is_dir():
        raise StableQuantError(root, "not a directory", "give the folder of the audio")
    with progress(audio_files(root), label=root.name) as files:
        lines = [f"{file.relative_to(root)}\t{_samples(file, keep_unreadable)}" for file in files]
    if not lines:
        raise StableQuantError(
            root, "no audio (FLAC, WAV, OGG, MP3 and so on) below it", "give the folder of the audio"
        )
    return "\n".join([str(root), *lines]) + "\n"


def _samples(file: Path, keep_unreadable: bool) -> int:
    """Number of samples per channel, by decoding the file: its header may be wrong."""
    try:
        return file_samples(file)
    except AudioError as error:
        if keep_unreadable:
            return 0
        raise StableQuantError(file, str(error), "repair or remove it") from error


def parts_of(root: Path) -> list[Path]:
    """The parts of LibriSpeech in ``root``; ``root`` itself if there are none."""
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return [folder for folder in folders if folder.is_dir() and PART.fullmatch(folder.name)] or [root]


def main() -> None:
    """Write the manifests that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="LibriSpeech's folder, one of its parts, or any folder of audio")
    parser.add_argument("--into", type=Path, default=Path("tsv"), help="folder of the manifests (tsv)")
    arguments = parser.parse_args()
    try:
        for part in parts_of(arguments.root):
            manifest = arguments.into / f"{part.resolve().name}.tsv"
            text = manifest_of(part)
            write_text(manifest, text)
            print(f"{manifest}: {text.count(chr(10)) - 1} utterances")
    except StableQuantError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
