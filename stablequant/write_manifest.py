"""Print fairseq's manifest of all FLAC and WAV files below a folder.

For LibriSpeech: ``python -m stablequant.write_manifest /data/LibriSpeech/dev-clean > tsv/dev-clean.tsv``
"""

import argparse
from pathlib import Path

import soundfile

from stablequant.progress import progress


def manifest_of(root: Path) -> str:
    """Root on the first line, then ``path TAB samples``, sorted by path."""
    files = sorted(file for file in root.rglob("*") if file.suffix in (".flac", ".wav"))
    lines = [
        f"{file.relative_to(root)}\t{soundfile.info(file).frames}" for file in progress(files, label="reading lengths")
    ]
    return "\n".join([str(root), *lines]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of the audio, with LibriSpeech's .trans.txt files in it")
    print(manifest_of(parser.parse_args().root), end="")
