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

from pathlib import Path

import numpy as np
import pandas as pd
from project import CONFIG
from records import Record, best_of
from tables import command_line, write_out
from tqdm import tqdm

from stablequant.quantization.histograms import UNCLIPPED
from stablequant.report.show import markdown_table
from stablequant.search.racing import Racing
from stablequant.search.racing_order import decision_points
from stablequant.search.search_percentile import Candidate

CONFIDENCES = (0.8, 0.9, 0.95, 0.99)
COLUMNS = [
    *("confidence", "orders", "probe_audio", "probes_otherwise", "probes"),
    *("search_audio", "searches_otherwise", "searches", "words_lost_mean", "words_lost_max", "words"),
]


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
    return best_of([candidates[i] for i in running]), heard


def replay(record: Record, confidence: float, orders: int, seed: int) -> dict:
    """One row: racing's decisions with the audio in so many orders."""
    racing = Racing(confidence, seed)
    words = record.reference.words.sum()
    limit = CONFIG["threshold"] / 100 * words
    losses = [np.array(row["errors"]) - record.reference.errors for row in record.probes.values()]
    searches = [[c for c in tried.values() if c.percentile < UNCLIPPED] for tried in record.searches.values()]
    probe_audio, search_audio, probes, otherwise = [], [], 0, []
    for order in tqdm([np.random.default_rng((seed, n)).permutation(len(record.samples)) for n in range(orders)]):
        audio = np.concatenate([[0.0], np.cumsum(record.samples[order])]) / record.samples.sum()
        for lost in losses:
            selected, heard = probe(racing, lost[order], limit)
            probe_audio.append(audio[heard])
            probes += selected != (lost.sum() > limit)
        for candidates in searches:
            won, tried = search(racing, candidates, order)
            search_audio.append(audio[tried].mean())
            right = best_of(candidates)
            if won.percentile != right.percentile:
                otherwise.append(sum(won.outcome.errors) - sum(right.outcome.errors))
    return {
        "confidence": confidence,
        "orders": orders,
        "probe_audio": np.mean(probe_audio),
        "probes_otherwise": probes / orders,
        "probes": len(losses),
        "search_audio": np.mean(search_audio),
        "searches_otherwise": len(otherwise) / orders,
        "searches": len(searches),
        "words_lost_mean": np.mean(otherwise) if otherwise else 0.0,
        "words_lost_max": max(otherwise, default=0),
        "words": words,
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
    record = Record(arguments.results)
    rows = [replay(record, confidence, arguments.orders, arguments.seed) for confidence in CONFIDENCES]
    table = pd.DataFrame(rows, columns=COLUMNS)
    print(table.round(3).to_string(index=False))
    write_out(arguments.out, table)


if __name__ == "__main__":
    main()
