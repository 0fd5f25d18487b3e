"""What a screened search finds and spares: ``python benchmarks/screening.py --results DIR --out FILE``.

An exhaustive search has recorded the word errors and the divergence of every utterance with every layer and every
cut-off. Here a screened search decides on these records, with the screen's audio drawn in many ways, so that one sees
how often it would have chosen otherwise, and what it would have spared, without recognising anything. It does so once
without racing and once with it, which ends probes early. ``results`` is the folder of a model after ``search:
exhaustive`` without racing, such as ``results/demo``. Run it in the project's folder.

*Passes* are multiply-accumulates in units of one pass over the audio, with the stored hidden values of that run;
``naive_passes`` recognise all audio anew for the words, for the histograms, and for every layer and cut-off.
``confidence`` is that of racing, empty without it. ``layers_otherwise`` counts the draws in which other layers are
selected, ``surely_otherwise`` those with a layer among them whose interval, after all audio, does not hold the
threshold; ``cutoffs_otherwise`` counts the searches, in all
draws, that end with another cut-off, and ``cutoffs_worse`` those of them that lose more words than the exhaustive
search's, with a paired interval above 0. ``overruled`` are those for which words chose another than the screen.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from project import CONFIG
from racing import probe as race
from records import Record, best_of
from tables import OTHERS_KEPT, command_line, write_out
from tqdm import tqdm

from stablequant.quantization.histograms import UNCLIPPED
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.recogniser import Recogniser
from stablequant.report.show import markdown_table
from stablequant.scoring.intervals import degradation_interval
from stablequant.scoring.word_errors import WordErrors, degradation
from stablequant.search.costs import layer_costs
from stablequant.search.plan_probes import layers_to_probe
from stablequant.search.racing import Racing
from stablequant.search.screen_percentiles import ScreenedCutoff, least_divergent, search_screened
from stablequant.search.screened import RECOGNISED, Screened
from stablequant.search.search_percentile import Candidate, WordTies
from stablequant.search.select_layers import overruled, select_layers
from stablequant.storage.files import read_json

COLUMNS = [
    *("model", "audio_seconds", "confidence", "in_a_row", "draws", "layers", "recognised_mean", "rounds_mean"),
    *(
        "layers_otherwise",
        "surely_otherwise",
        "layers_overruled_mean",
        "searches",
        "cutoffs_otherwise",
        "cutoffs_worse",
        "cutoffs_overruled",
        "points_lost_mean",
    ),
    *("passes_mean", "exhaustive_passes", "naive_passes"),
]


class CostedRecord(Record):
    """A record of a search with ties, and the computation that each of its trials took."""

    @cached_property
    def ties(self) -> WordTies:
        return WordTies(self.reference.words, CONFIG["ties"]["points"], CONFIG["seed"])

    @cached_property
    def recogniser(self) -> Recogniser:
        return load_recogniser(self.results / "checkpoint", "cpu", 1)

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.recogniser.front_end.sample_rate

    @cached_property
    def before(self) -> dict[str, float]:
        """Share of a pass that lies before each layer."""
        costs = layer_costs(self.recogniser)
        shares = np.array([cost.macs for cost in costs.values()])
        return dict(zip(costs, (np.cumsum(shares) - shares) / shares.sum(), strict=True))

    def reached(self, layer: str) -> float:
        """Share of a pass from where a probe of ``layer`` starts, at stored hidden values, up to the layer."""
        layers = list(self.before)
        kept = {"": 0.0} | {k: self.before[k] for k in read_json(self.results / "hidden_values.json")["layers"]}
        started = max(share for k, share in kept.items() if not k or layers.index(k) <= layers.index(layer))
        return self.before[layer] - started

    def probe_passes(self, layer: str, cutoffs: int = 1) -> float:
        """Passes to recognise all audio with so many cut-offs of ``layer`` at once."""
        return self.reached(layer) + cutoffs * (1 - self.before[layer])

    def words_with(self, layer: str, percentile: float) -> WordErrors:
        return replace(self.reference, errors=np.array(self.searches[layer][percentile].outcome.errors))


@dataclass
class Screen:
    """A screened search on a record.

    Attributes
    ----------
    record: what the exhaustive search found
    order: a random order of the utterances
    audio_seconds: of the screen, the first ones in this order
    racing: ends probes early, which take the utterances in this order too; None without it
    passes: that were needed so far, the reference's among them
    probed: rows of the layers that were recognised, by layer
    """

    record: CostedRecord
    order: np.ndarray
    audio_seconds: float
    racing: Racing | None
    passes: float = 1.0
    probed: dict[str, dict] = field(default_factory=dict)

    @cached_property
    def part(self) -> np.ndarray:
        """The utterances of the screen's audio."""
        samples = self.record.samples[self.order]
        return self.order[np.cumsum(samples) - samples < self.audio_seconds * self.record.sample_rate]

    @property
    def share(self) -> float:
        """Of the audio."""
        return float(self.record.samples[self.part].sum() / self.record.samples.sum())

    def nats(self, divergences: list[float | None]) -> float:
        """Of the part, per sample: its order is that of nats per position."""
        return float(np.array(divergences)[self.part].sum() / self.record.samples[self.part].sum())

    def layers(self) -> list[Screened]:
        """What the screen measures of every layer."""
        before = list(self.record.before.values())
        self.passes += self.share * (before[-1] + sum(1 - share for share in before))
        rows: list[Screened] = []
        for layer, probe in self.record.probes.items():
            more = (np.array(probe["errors"]) - self.record.reference.errors)[self.part]
            rows.append(
                {
                    "layer": layer,
                    "kind": probe["kind"],
                    "divergence": self.nats(probe["divergences"]),
                    "lost": int(more[more > 0].sum()),
                    "words": int(self.record.reference.words[self.part].sum()),
                    "utterances": len(self.part),
                }
            )
        return rows

    def probe(self, in_a_row: int) -> tuple[pd.DataFrame, int]:
        """The selection, and how many rounds it took."""
        screen, rounds, threshold = self.layers(), 1, CONFIG["threshold"]
        while new := [
            layer
            for layer in layers_to_probe(screen, list(self.probed.values()), threshold, in_a_row)
            if layer not in self.probed
        ]:
            self.probed |= {layer: self.recognised(layer) for layer in new}
            rounds += 1
        return select_layers(list(self.probed.values()), threshold, screen), rounds

    def recognised(self, layer: str) -> dict:
        """The probe of ``layer``; where racing ends it early, with its decision."""
        row = self.record.probes[layer]
        if self.racing is None:
            self.passes += self.record.probe_passes(layer)
            return row
        lost = (np.array(row["errors"]) - self.record.reference.errors)[self.order]
        above, heard = race(self.racing, lost, CONFIG["threshold"] / 100 * self.record.reference.words.sum())
        samples = self.record.samples[self.order]
        self.passes += self.record.probe_passes(layer) * float(samples[:heard].sum() / samples.sum())
        return row if heard == len(lost) else row | {"above": above}

    def screen_cutoffs(self, layer: str) -> None:
        """Count what the screen of all cut-offs of ``layer`` takes."""
        before = self.record.before[layer]
        self.passes += self.share * (before + (len(CONFIG["percentiles"]) + 1) * (1 - before))

    def search_unknown(self, layer: str) -> None:
        """Count the least that a search of ``layer`` takes, which the exhaustive search did not select."""
        self.screen_cutoffs(layer)
        self.passes += self.record.probe_passes(layer)

    def search(self, layer: str) -> tuple[float, bool]:
        """The cut-off of ``layer``, and whether words overruled the screen."""
        tried = self.record.searches[layer]
        self.screen_cutoffs(layer)
        screen = [ScreenedCutoff(p, self.nats(c.outcome.divergences), len(self.part)) for p, c in tried.items()]

        def recognise(percentiles: list[float]) -> list[Candidate]:
            self.passes += self.record.probe_passes(layer, len(percentiles))
            return [tried[percentile] for percentile in percentiles]

        known = [tried[UNCLIPPED]] if self.probed[layer]["above"] is None else []  # measured by the probe
        found = search_screened(screen, recognise, CONFIG["threshold"], known, self.record.ties)
        (best,) = [candidate.percentile for candidate in found if candidate.best]
        return best, best != least_divergent(screen)


def replay(
    record: CostedRecord, audio_seconds: float, confidence: float | None, in_a_row: int, draws: int, seed: int
) -> dict[str, object]:
    """One row: a screened search with so many draws of the screen's audio, and of the order of the audio."""
    whole = select_layers(list(record.probes.values()), CONFIG["threshold"])
    selected, sure = (set(whole.loc[whole[column], "layer"]) for column in ("selected", "sure"))
    racing = Racing(confidence, seed) if confidence else None
    found = []
    for number in range(draws):
        drawn = np.random.default_rng((seed, number)).permutation(len(record.samples))
        screen = Screen(record, drawn, audio_seconds, racing)
        table, rounds = screen.probe(in_a_row)
        chosen = table.loc[table["selected"], "layer"].tolist()
        cutoffs = [(layer, *screen.search(layer)) for layer in chosen if layer in record.searches]
        for layer in {*chosen} - record.searches.keys():
            screen.search_unknown(layer)
        found.append(
            {
                "recognised_mean": int(table["measured"].eq(RECOGNISED).sum()),
                "rounds_mean": rounds,
                "layers_otherwise": set(chosen) != selected,
                "surely_otherwise": bool(({*chosen} ^ selected) & sure),
                "layers_overruled_mean": overruled(table),
                "passes_mean": screen.passes,
                "cutoffs": [compared(record, layer, percentile, seed) for layer, percentile, _ in cutoffs],
                "cutoffs_overruled": sum(words for *_, words in cutoffs),
            }
        )
    table = pd.DataFrame(found)
    cutoffs = pd.DataFrame(table["cutoffs"].sum(), columns=["otherwise", "points", "worse"])
    tried = sum(len(cutoffs) - 1 for cutoffs in record.searches.values())
    return {
        "model": record.results.name,
        "audio_seconds": audio_seconds,
        "confidence": confidence,
        "in_a_row": in_a_row,
        "draws": draws,
        "layers": len(record.probes),
        **{name: table[name].mean() for name in COLUMNS if name.endswith("_mean") and name in table},
        **{name: int(table[name].sum()) for name in ("layers_otherwise", "surely_otherwise")},
        "searches": len(cutoffs),
        "cutoffs_otherwise": int(cutoffs["otherwise"].sum()),
        "cutoffs_worse": int(cutoffs["worse"].sum()),
        "cutoffs_overruled": int(table["cutoffs_overruled"].sum()),
        "points_lost_mean": cutoffs["points"].mean(),
        "exhaustive_passes": 1
        + sum(map(record.probe_passes, record.probes))
        + sum(record.probe_passes(layer, len(cutoffs) - 1) for layer, cutoffs in record.searches.items()),
        "naive_passes": 2 + len(record.probes) + tried,
    }


def compared(record: CostedRecord, layer: str, percentile: float, seed: int) -> tuple[bool, float, bool]:
    """Whether a cut-off differs from the exhaustive search's, the points of WER that it loses more, and surely so."""
    best = best_of(list(record.searches[layer].values()), record.ties).percentile
    chosen, exhaustive = record.words_with(layer, percentile), record.words_with(layer, best)
    low, _ = degradation_interval(chosen, exhaustive, seed)
    return percentile != best, degradation(chosen, exhaustive), low > 0


def markdown(table: pd.DataFrame) -> str:
    """The table as the documents show it."""
    rows = [
        [
            *(row.model, f"{row.audio_seconds:g}", "no" if np.isnan(row.confidence) else f"{row.confidence:g}"),
            f"{row.recognised_mean:.1f} of {row.layers}",
            f"{row.layers_otherwise}, {row.surely_otherwise} of {row.draws}",
            f"{row.cutoffs_otherwise} of {row.searches}",
            *(f"{row.cutoffs_worse}", "" if np.isnan(row.points_lost_mean) else f"{row.points_lost_mean:.2f}"),
            *(f"{row.layers_overruled_mean:.1f}, {row.cutoffs_overruled}", f"{row.passes_mean:.1f}"),
            *(f"{row.passes_mean / row.naive_passes:.3f}", f"{row.exhaustive_passes / row.naive_passes:.3f}"),
        ]
        for row in table.itertuples()
    ]
    header = ["model", "audio, s", "racing", "layers recognised", "draws with other layers, surely"]
    header += ["searches with another cut-off", "worse", "points lost", "overruled: layers per draw, cut-offs"]
    return markdown_table([*header, "passes", "of naive's", "exhaustive, of naive's"], rows)


def main() -> None:
    parser = command_line(__doc__, markdown, out=OTHERS_KEPT)
    parser.add_argument("--results", type=Path, default=Path("results/demo"), help="of an exhaustive search")
    parser.add_argument("--audio-seconds", type=float, nargs="+", default=[15, 30, 60], help="of the screen")
    parser.add_argument("--in-a-row", type=int, default=CONFIG["screening"]["in_a_row"], help="layers")
    parser.add_argument("--draws", type=int, default=100, help="of the screen's audio (100)")
    parser.add_argument("--seed", type=int, default=CONFIG["seed"], help="of the draws and the intervals (0)")
    arguments = parser.parse_args()
    record = CostedRecord(arguments.results)
    rows = [
        replay(record, seconds, confidence, arguments.in_a_row, arguments.draws, arguments.seed)
        for seconds, confidence in tqdm([*product(arguments.audio_seconds, (None, CONFIG["racing"]["confidence"]))])
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    print(markdown(table))
    write_out(arguments.out, table, keep_others=True)


if __name__ == "__main__":
    main()
