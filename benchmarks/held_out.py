"""WER on speech that no one looked at before: ``python benchmarks/held_out.py --out FILE``, after ``make run``.

The demo's evaluation split is small, and its tables were looked at while the procedure was designed. Here 3000 new
utterances are **synthesised** (new_speech.py), and the OpenVINO engines that lie in ``results`` recognise them:
``fp32``, StableQuant's and, after ``make peers``, any other method's. flite must be installed. ``degradation`` is in
points of WER against fp32, with the 95 % interval of a paired bootstrap; ``behind`` is the same against StableQuant's
engine. Run it in the project's folder.
"""

import sys
from pathlib import Path

import pandas as pd
from project import CONFIG, PROJECT
from judged import OURS, load_network, points_lost, recognise_split
from new_speech import synthesise
from tables import OTHERS_KEPT, command_line, write_out

from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import read_manifest
from stablequant.engines.running import load_engine
from stablequant.recognisers.registry import family_of
from stablequant.report.captions import with_interval
from stablequant.report.show import markdown_table
from stablequant.scoring.word_errors import WordErrors

COLUMNS = [
    *("model", "method", "utterances", "words", "wer", "degradation", "ci_low", "ci_high", "ci_over"),
    *("behind", "behind_low", "behind_high", "arithmetic"),
]


def engines_of(model: str, methods: list[str]) -> dict[str, Path]:
    """Folders of a model's OpenVINO engines by method: the workflow's, and those of other quantizers (peers.py)."""
    places = (f"results/{model}/engines/openvino", f"results/peers/{model}/engines")
    found = {
        method: PROJECT / place / method
        for method in methods
        for place in places
        if (PROJECT / place / method / "model.xml").is_file()
    }
    for method in methods:
        if method not in found:
            print(f"{model}: no engine of {method} in {' or '.join(places)}; it is left out", file=sys.stderr)
    return found


def measure(model: str, methods: list[str], manifest: Path, threads: int) -> pd.DataFrame:
    """One row per engine, `COLUMNS`."""
    checkpoint = PROJECT / "results" / model / "checkpoint"
    utterances, rejected = list_utterances(read_manifest(manifest), family_of(checkpoint).front_end(checkpoint))
    if rejected:
        raise SystemExit(f"{manifest}: {len(rejected)} utterances cannot be used, the first {rejected[0]}")
    scored: dict[str, WordErrors] = {}
    computed: dict[str, str] = {}
    for method, folder in engines_of(model, methods).items():
        own = (folder / "engine.json").is_file()  # the workflow's engines run as they are used, peers' as peers.py does
        networks, arithmetic = load_engine(folder, threads) if own else load_network(folder, threads)
        scored[method] = recognise_split(checkpoint, networks, utterances, CONFIG["batch_mb"])
        print(f"{model} {method}: {scored[method].wer:.2f} %, {arithmetic} arithmetic", flush=True)
        computed[method] = arithmetic
    rows = []
    for method, errors in scored.items():
        row = {"model": model, "method": method, "wer": errors.wer}
        row |= {"arithmetic": computed[method], "utterances": len(utterances), "words": int(errors.words.sum())}
        rows.append(row | points_lost(errors, scored, CONFIG["seed"]))
    return pd.DataFrame(rows, columns=COLUMNS)


def markdown(table: pd.DataFrame) -> str:
    """The table as the documents show it: a row per method, a column per recogniser."""
    models, methods = table["model"].unique(), table["method"].unique()
    rows = []
    for method in methods:
        own = table[table["method"] == method].set_index("model")
        rows.append([method, *(_cell(own.loc[m]) if m in own.index else "" for m in models)])
    return markdown_table(["points of WER lost", *models], rows)


def _cell(row: pd.Series) -> str:
    if row["method"] == "fp32":
        return f"WER {row['wer']:.2f} %"
    return with_interval(row)


def main() -> None:
    parser = command_line(__doc__, markdown, out=OTHERS_KEPT, threads=True)
    parser.add_argument("--models", nargs="+", default=["demo"], help="folders of results (demo)")
    parser.add_argument("--methods", nargs="+", default=[OURS], help="beside fp32 (stablequant)")
    arguments = parser.parse_args()
    manifest = synthesise(arguments.threads)
    for model in arguments.models:
        measured = measure(model, list(dict.fromkeys(["fp32", OURS, *arguments.methods])), manifest, arguments.threads)
        print(measured.round(2).to_string(index=False))
        write_out(arguments.out, measured, keep_others=True)


if __name__ == "__main__":
    main()
