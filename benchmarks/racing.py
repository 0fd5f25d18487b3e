"""What racing finds and spares, by its confidence: ``python benchmarks/racing.py --out FILE``.

A search that heard all audio has recorded the word errors of every utterance with every layer and every cut-off. Here
racing decides on these records, with the audio in many random orders, so that one sees how often it would have chosen
otherwise, and what it would have spared, without recognising anything. The records are those of ``results/demo-paper``,
the demo by the paper's procedure, in which most is searched (``.venv/bin/snakemake --cores all --configfile
benchmarks/demo-paper.yaml``); all of that speech is **synthesised**. Run it in the project's folder.

``probe_audio`` and ``search_audio`` are shares of what is heard without racing. Of ``probes`` and ``searches`` those
that end ``otherwise`` are counted, on average per order; ``words_lost`` are the word errors by which their cut-offs are
worse on all of the audio.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from project import CONFIG
from tables import command_line, write_out
from tqdm import tqdm

from stablequant.corpora.utterance import read_utterances
from stablequant.report.show import markdown_table
from stablequant.search.racing import Racing
from stablequant.search.racing_order import decision_points
from stablequant.search.search_percentile import Candidate, mark_best, outcome_of
from stablequant.storage.files import read_json

CONFIDENCES = (0.8, 0.9, 0.95, 0.99)
COLUMNS = [
    *("confidence", "orders", "probe_audio", "probes_otherwise", "probes"),
    *("search_audio", "searches_otherwise", "searches", "words_lost_mean", "words_lost_max", "words"),
]


@dataclass(frozen=True)
class Record:
    """What a search without racing measured.

    Attributes
    ----------
    samples: of each utterance
    limit: words that a layer may lose
    probes: words lost by each utterance, by layer
    searches: cut-offs tried, by layer
    """

    samples: np.ndarray
    words: int
    limit: float
    probes: dict[str, np.ndarray]
    searches: dict[str, list[Candidate]]


def read_record(results: Path) -> Record:
    utterances = read_json(results / "reference.json")["utterances"]
    words = sum(row["words"] for row in utterances)
    fp32 = np.array([row["errors"] for row in utterances])
    rows = [row for file in sorted((results / "sensitivity").glob("*.json")) for row in read_json(file)]
    searches = {}
    for file in sorted((results / "percentiles").glob("*.json")):
        tried = [c for c in read_json(file)["candidates"] if c["percentile"] < 100]  # 100 % is the probe's
        searches[file.stem] = [Candidate(c["percentile"], outcome_of(c)) for c in tried]
    if any(None in c.outcome.errors for candidates in searches.values() for c in candidates):
        sys.exit(f"{results}: searched with racing; run it anew with racing: {{enabled: false}}")
    return Record(
        np.array([u.samples for u in read_utterances(results / "utterances/calibration.tsv")]),
        words,
        CONFIG["threshold"] / 100 * words,
        {row["layer"]: np.array(row["errors"]) - fp32 for row in rows},
        searches,
    )


def probe(racing: Racing, lost: np.ndarray, limit: float) -> tuple[bool, int]:
    """Whether a layer is selected, and after how many utterances; ``lost`` in the order of the audio."""
    for seen in decision_points(len(lost)):
        if (above := racing.above(lost[:seen], len(lost) - seen, limit)) is not None:
            return above, seen
    return bool(lost.sum() > limit), len(lost)


def search(racing: Racing, candidates: list[Candidate], order: np.ndarray) -> tuple[Candidate, np.ndarray]:
    """The cut-off that wins, and how many utterances each was tried on."""
    errors = np.array([c.outcome.errors for c in candidates])[:, order]
    divergences = np.array([c.outcome.divergences for c in candidates])[:, order]
    utterances = len(order)
    running, heard = np.arange(len(errors)), np.full(len(errors), utterances)
    for seen in decision_points(utterances):
        lost = racing.losers(errors[running, :seen], divergences[running, :seen].sum(axis=1), utterances - seen)
        heard[running[lost]] = seen
        running = running[~lost]
        if len(running) == 1:
            heard[running] = seen
            break
    return best([candidates[i] for i in running]), heard


def best(candidates: list[Candidate]) -> Candidate:
    return next(c for c in mark_best(candidates) if c.best)


def replay(record: Record, confidence: float, orders: int, seed: int) -> dict:
    """One row: racing's decisions with the audio in so many orders."""
    racing = Racing(confidence, seed)
    probe_audio, search_audio, probes, otherwise = [], [], 0, []
    for order in tqdm([np.random.default_rng((seed, n)).permutation(len(record.samples)) for n in range(orders)]):
        audio = np.concatenate([[0.0], np.cumsum(record.samples[order])]) / record.samples.sum()
        for lost in record.probes.values():
            selected, heard = probe(racing, lost[order], record.limit)
            probe_audio.append(audio[heard])
            probes += selected != (lost.sum() > record.limit)
        for candidates in record.searches.values():
            won, tried = search(racing, candidates, order)
            search_audio.append(audio[tried].mean())
            right = best(candidates)
            if won.percentile != right.percentile:
                otherwise.append(sum(won.outcome.errors) - sum(right.outcome.errors))
    return {
        "confidence": confidence,
        "orders": orders,
        "probe_audio": np.mean(probe_audio),
        "probes_otherwise": probes / orders,
        "probes": len(record.probes),
        "search_audio": np.mean(search_audio),
        "searches_otherwise": len(otherwise) / orders,
        "searches": len(record.searches),
        "words_lost_mean": np.mean(otherwise) if otherwise else 0.0,
        "words_lost_max": max(otherwise, default=0),
        "words": record.words,
    }


def markdown(table: pd.DataFrame) -> str:
    rows = [
        [
            *(f"{row.confidence:g}", f"{row.probe_audio:.2f}", f"{row.search_audio:.2f}"),
            *(f"{row.probes_otherwise:.2f} of {row.probes}", f"{row.searches_otherwise:.2f} of {row.searches}"),
            f"{row.words_lost_mean:.1f}, {row.words_lost_max}",
        ]
        for row in table.itertuples()
    ]
    header = ["confidence", "audio, probes", "audio, searches", "layers selected otherwise"]
    return markdown_table([*header, "cut-offs chosen otherwise", "words lost by those: mean, most"], rows)


def main() -> None:
    parser = command_line(__doc__, markdown)
    parser.add_argument("--results", type=Path, default=Path("results/demo-paper"), help="of a search without racing")
    parser.add_argument("--orders", type=int, default=100, help="of the audio (100)")
    parser.add_argument("--seed", type=int, default=CONFIG["seed"], help="of the orders and racing's draws (0)")
    arguments = parser.parse_args()
    record = read_record(arguments.results)
    rows = [replay(record, confidence, arguments.orders, arguments.seed) for confidence in CONFIDENCES]
    table = pd.DataFrame(rows, columns=COLUMNS)
    print(table.round(3).to_string(index=False))
    write_out(arguments.out, table)


if __name__ == "__main__":
    main()
