"""The sections of the report: sentences, plots and a table each, from the files of a run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from stablequant.engines.folder import EVALUATED
from stablequant.engines.precision import INT8
from stablequant.recognisers.registry import family_of
from stablequant.report.captions import with_interval
from stablequant.report.compare import read_comparison
from stablequant.report.compare_hypotheses import TEXT, count_changes
from stablequant.report.verdict import METHOD
from stablequant.search import gather_percentiles, select_layers
from stablequant.search.gather_percentiles import best_percentiles
from stablequant.search.screened import SCREENED
from stablequant.search.select_layers import most_sensitive
from stablequant.storage.files import read_json, read_table

SHOWN_OF_OTHERS = 50  # changed hypotheses of each other method; all of StableQuant's are shown
STEPS = {
    "searched together": "a cut-off in common for layers that needed no search, on a part of the audio",
    "all layers": "everything that is to be INT8",
    "without": "everything that is to be INT8 but these layers",
    "searched again": "a cut-off for these layers, with the rest quantized",
}


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes
    ----------
    title: heading
    text: sentences below it
    table: with the headings that are shown; numbers are rounded by `DIGITS` where they are shown
    plots: names of plots, each with its caption
    """

    title: str
    text: str
    table: pd.DataFrame
    plots: Mapping[str, str]


# Decimals by heading; None shows a number exactly. Numbers in other columns have four digits.
DIGITS: Mapping[str, int | None] = {
    **{
        "WER, %": 2,
        "points lost": 2,
        "from": 2,
        "to": 2,
        "MB": 1,
        "share of fp32": 2,
        "speed-up": 2,
        "at new lengths": 2,
    },
    **{"divergence": 4, "shortest, s": 1, "longest, s": 1, "minutes": 1, "kept, %": None},
}
MEASURED = {  # columns of most tables, and their headings
    "wer": "WER, %",
    "degradation": "points lost",
    "ci_low": "from",
    "ci_high": "to",
    "divergence": "divergence",
    "utterances": "utterances",
}
INTERVAL = "The columns “from” and “to” are the 95 % interval of the points lost."
SPEEDUP = (
    "For the speed-up against fp32 the engines of one backend took turns on the same audio. It is not measurable where "
    "the noise is larger than the difference. New lengths are those that an engine meets for the first time."
)
DIVERGENCE = (
    "The divergence says how far the recogniser's probabilities are from those of fp32, in nats per position: a frame, "
    "or a token of Whisper."
)


def _columns(table: pd.DataFrame, headings: Mapping[str, str]) -> pd.DataFrame:
    chosen = {name: heading for name, heading in headings.items() if name in table}
    return table[list(chosen)].rename(columns=chosen)


def engines(results: Path) -> Section:
    table = read_comparison(results / "comparison.tsv")
    table["megabytes"] = table["size_bytes"] / 1e6
    ran = int((table["status"] == EVALUATED).sum())
    text = f"{len(table)} engines were built, {ran} of them recognised the evaluation split."
    if ran:
        text += f" {INTERVAL} {SPEEDUP}"
    if idle := len(table) - ran:
        text += f" Only the size is known of {idle}, which could not run."
    headings = {"backend": "engine", "method": "method"} | MEASURED
    headings |= {
        "megabytes": "MB",
        "size_ratio": "share of fp32",
        "speedup": "speed-up",
        "new_speedup": "at new lengths",
    }
    headings |= {"float_layers": "layers not in INT8", "arithmetic": "computes in", "status": "status"}
    plots = {
        "peers": "The same recogniser, quantized by other tools. All took turns on the same audio, in OpenVINO, or in "
        "ONNX Runtime where that quantizes while it runs. The file with these numbers was measured before this run. "
        "Tools that made no engine are not drawn."
    }
    return Section("All engines", text, _columns(table, headings), plots)


def hypotheses(results: Path) -> Section:
    table = read_table(results / "hypotheses.tsv", TEXT).fillna("")
    table["change"] = table["errors"] - table["fp32_errors"]
    order = [METHOD, *(name for name in table["method"].unique() if name != METHOD)]
    parts = [table[table["method"] == name].sort_values("change", ascending=False, kind="stable") for name in order]
    counts = [f"{method} on {backend}: {n} ({better} better, {worse} worse)" for backend, method, n, better, worse in
              sorted(count_changes(table), key=lambda found: order.index(found[1]))]  # fmt: skip
    text = (
        f"Utterances that an engine writes otherwise than fp32: {'; '.join(counts) or 'none'}. In the last column "
        "[old -> new] marks a changed word, [+ new] an added one and [- old] a lost one."
    )
    if any(len(part) > SHOWN_OF_OTHERS for part in parts[1:]):
        text += f" Of other methods the {SHOWN_OF_OTHERS} worst are shown; hypotheses.tsv has all."
    shown = pd.concat([parts[0], *(part.head(SHOWN_OF_OTHERS) for part in parts[1:])])
    headings = {"backend": "engine", "method": "method", "utterance": "utterance", "fp32_errors": "errors, fp32"}
    headings |= {"errors": "errors", "transcript": "transcript", "changes": "what changed"}
    return Section("Changed words", text, _columns(shown, headings), {})


def sensitivity(results: Path) -> Section:
    table = read_table(results / "sensitivity.tsv")
    selected = table[table["selected"]]
    worst = most_sensitive(table, 1).iloc[0]
    text = (
        f"Each of {len(table)} layers was quantized alone, on the calibration split, while all others stayed in "
        f"floating point. {len(selected)} lost too much, so a cut-off was searched for them. {worst['layer']} loses "
        f"most: {with_interval(worst)} points of WER. {INTERVAL} {DIVERGENCE}"
    )
    if only := _screened(table):
        text += (
            f" {only} were only screened, because others that diverge more lose clearly less than the threshold. Words "
            f"overruled the order of the screen for {select_layers.overruled(table)} of those that are searched."
        )
    headings = {"layer": "layer"} | MEASURED | {"selected": "searched", "sure": "sure"}
    return Section("Each layer alone", text, _columns(table, headings), {})


def percentiles(results: Path) -> Section:
    table = read_table(results / "percentiles.tsv")
    best = ", ".join(f"{layer} at {percentile:g} %" for layer, percentile in best_percentiles(table).items())
    text = f"Cut-offs that were chosen for each layer alone: {best or 'none, since no layer was searched'}. {INTERVAL}"
    if only := _screened(table):
        text += (
            f" {only} of {len(table)} were only screened. Words overruled the screen for "
            f"{gather_percentiles.overruled(table)} of {table['layer'].nunique()} layers."
        )
    headings = {"layer": "layer", "percentile": "kept, %", "best": "chosen", "stopped": "stopped early"} | MEASURED
    caption = (
        "Each line is one searched layer. From right to left more of its largest values are clipped. The filled mark "
        "is the cut-off that was chosen. A mark beside the line is of less audio, because racing ended its test early."
    )
    return Section("Cut-offs of the searched layers", text, _columns(table, headings), {"percentiles": caption})


def _screened(table: pd.DataFrame) -> int:
    """Number of rows of ``sensitivity.tsv`` or ``percentiles.tsv`` for which no words were counted."""
    return int(table["measured"].eq(SCREENED).sum())


def combination(results: Path) -> Section:
    table = read_table(results / "combination.tsv")
    text = "The layers were measured one by one, not together."
    if len(table):
        # the other steps recognise a part of the calibration set, or leave out layers only to measure them
        whole = table[table["step"].isin(["all layers", "left in floating point"])]
        kept = whole[whole["kept"]]
        final = (kept if len(kept) else whole).iloc[-1]  # earlier versions kept none where too much was lost
        floating = ", ".join(read_json(results / f"scales/{METHOD}.json")["float_layers"])
        left = f", with {floating} left in floating point" if floating else ""
        text = (
            f"All layers were quantized at once, on the calibration split{left}. Together they lose "
            f"{with_interval(final)} points of WER. {INTERVAL}"
        )
        table["step"] = table["step"].map(lambda step: STEPS.get(step, step))
    headings = {"step": "what was tried", "layers": "layers", "percentile": "kept, %", "kept": "chosen"} | MEASURED
    return Section("All layers together", text, _columns(table, headings), {})


def scales(results: Path) -> Section:
    content = read_json(results / f"scales/{METHOD}.json")
    table = pd.DataFrame.from_dict(content["activations"], orient="index").rename_axis("activation").reset_index()
    table["carried"] = table["carried"].map(len)  # channels
    floating = ", ".join(content["float_layers"]) or "none"
    text = f"Ranges and scales of {len(table)} activations. Layers left in floating point: {floating}."
    caption = "How often each value occurs in the layers that suffer most, with the ranges that were chosen."
    headings = {"activation": "activation", "percentile": "kept, %", "low": "lowest", "high": "highest"}
    headings |= {"centre": "centre", "scale": "scale", "split": "two numbers", "carried": "carried channels"}
    return Section("Ranges and scales", text, _columns(table, headings), {"histograms": caption})


def precision(results: Path) -> Section:
    table = read_table(results / "precision.tsv")
    rows = []
    for (backend, method), layers in table.groupby(["backend", "method"], sort=False):
        known, fell = layers["runs"].notna(), layers[layers["fell_back"]]["layer"].tolist()
        asked = int((layers["requested"] == INT8).sum())
        kinds = sorted(set(" ".join(layers["runs"][known]).split()))
        runs = ", ".join(kinds) or "not known"
        rows.append([backend, method, asked, runs, len(fell), ", ".join(fell)])
    headings = ["engine", "method", "layers asked for in INT8", "they run in", "fell back", "which"]
    return Section("What the engines compute in", _fallen(table), pd.DataFrame(rows, columns=headings), {})


def _fallen(table: pd.DataFrame) -> str:
    """Whether layers that were asked for in INT8 run in INT8, in the backends that say what their layers run in."""
    asked = table[table["requested"] == INT8]
    known, unknown = asked[asked["runs"].notna()], asked[asked["runs"].isna()]
    told = list(dict.fromkeys(known["backend"]))
    silent = [backend for backend in dict.fromkeys(unknown["backend"]) if backend not in told]
    sentences = []
    if fallen := known.loc[known["fell_back"], "layer"].nunique():
        number = asked["layer"].nunique()
        sentences.append(f"INT8 was asked for but is not used by {fallen} of {number} layers, in at least one engine.")
    elif told:
        partly = " and whose precision is known" if set(told) & set(unknown["backend"]) else ""
        sentences.append(
            f"In {' and '.join(told)} every layer that was asked for in INT8{partly} runs in INT8 on the machine "
            "that built the engine."
        )
    if silent:
        sentences.append(f"What {' and '.join(silent)} computes in is not known.")
    return " ".join(sentences)


def data(results: Path) -> Section:
    checkpoint = results / "checkpoint"
    rate = family_of(checkpoint).sample_rate(checkpoint)
    rows = []
    for split in ("calibration", "evaluation"):
        table = read_table(results / f"utterances/{split}.tsv", ("utterance", "transcript")).fillna({"transcript": ""})
        words = int(table["transcript"].str.count(r"\S+").sum())
        lengths = table["samples"] / rate
        speakers = table["speaker"].nunique() or None
        rows.append([split, len(table), speakers, words, lengths.sum() / 60, lengths.min(), lengths.max()])
    columns = ["split", "utterances", "speakers", "words", "minutes", "shortest, s", "longest, s"]
    table = pd.DataFrame(rows, columns=columns)
    return Section("Audio", "The calibration split decided. The evaluation split only judged.", table, {})


def time(results: Path) -> Section:
    caption = "One line for each rule of the workflow, one bar for each job. The start of processes is not counted."
    text = "When the jobs of all runs so far worked, also those whose results are no longer used."
    return Section("Time", text, pd.DataFrame(), {"timeline": caption})


ALWAYS: list[Callable[[Path], Section]] = [engines, hypotheses]
OF_THE_SEARCH: list[Callable[[Path], Section]] = [sensitivity, percentiles, combination, scales]
LAST: list[Callable[[Path], Section]] = [precision, data, time]


def sections(results: Path, searched: bool) -> list[Section]:
    """The sections on the run in ``results``. Those of the search are left out where nothing was ``searched``."""
    return [read(results) for read in (*ALWAYS, *(OF_THE_SEARCH if searched else []), *LAST)]
