"""Draw the engines of benchmarks/whisper.tsv: WER against size and speed, for the README.

.venv/bin/python benchmarks/whisper_picture.py --out docs/assets/whisper.svg
"""

import argparse
from pathlib import Path

from project import PROJECT

from stablequant.report.plot_tradeoff import plot_tradeoff
from stablequant.storage.files import read_table

TABLE = PROJECT / "benchmarks/whisper.tsv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="SVG to write")
    arguments = parser.parse_args()
    table = read_table(TABLE)
    table = table[table["wer"].notna()]
    fp32 = table[(table["engine"] == "openvino") & (table["method"] == "fp32")].iloc[0]
    ratios = {"size_ratio": table["size_bytes"] / fp32["size_bytes"], "speedup": table["rtfx"] / fp32["rtfx"]}
    plot_tradeoff(table.rename(columns={"engine": "backend"}).assign(**ratios), arguments.out)


if __name__ == "__main__":
    main()
