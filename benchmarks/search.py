"""What the search costs: ``python benchmarks/search.py --out FILE``.

Four modes: *naive* recognises all audio anew for every layer and every cut-off percentile, *prefix* (``search:
exhaustive``) resumes from stored hidden values and computes what lies before a layer once for all its percentiles,
*racing* stops early too, and *screened* (``search: screened``) recognises only what the divergence on a minute leaves
in doubt. Each is a process of its own; they take turns layer by layer, so that a drifting machine slows all alike.
*Passes* are multiply-accumulates in units of one pass over the audio. The demo is the project's, **synthesised** speech
and the recogniser trained on it; its variants and ``large`` are those of ``variants.py``; ``hubert-large-shape`` has
random weights and hears tones, see ``random_large.py``. Another recogniser is named by ``--other``. The cut-off of
100 %, which the workflow has from the probe, is no candidate here. Run it in the project's folder.

``layers_otherwise`` and ``cutoffs_otherwise`` count where a mode chose otherwise than naive. Of those layers,
``layers_surely_otherwise`` are the ones whose degradation naive measured with an interval that does not hold the
threshold, and ``cutoffs_worse`` the ones whose cut-off loses more words than naive's, with a paired interval above 0.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from project import CONFIG
from random_large import write_random_large
from search_modes import MODES, Worker
from tables import OTHERS_KEPT, command_line, write_out
from tqdm import tqdm
from utterance_tables import DEMO, write_utterances
from variants import RECOGNISERS, checkpoint_of

from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.report.show import markdown_table
from stablequant.scoring.intervals import degradation_interval

MODELS = (*RECOGNISERS, "hubert-large-shape")
COLUMNS = [
    *("model", "mode", "passes", "wall_seconds", "peak_rss_bytes", "disk_bytes", "selected", "percentiles"),
    *("audio_seconds", "fp32_seconds", "fp32_peak_rss_bytes", "device"),
    *("layers_otherwise", "layers_surely_otherwise", "cutoffs_otherwise", "cutoffs_worse"),
]
DEV_CLEAN_HOURS = 5.4


def measure(name: str, checkpoint: Path, utterances: Path, device: str, threads: int, seed: int) -> pd.DataFrame:
    """One row per mode; ``fp32_...`` are of one plain recognition."""
    with tempfile.TemporaryDirectory() as temporary:
        workers = {}
        for mode in ("fp32", *MODES):
            folder = Path(temporary) / mode
            folder.mkdir()
            workers[mode] = Worker(mode, checkpoint, utterances, folder, device, threads, seed)
        plain = workers.pop("fp32")
        layers = plain("layers")
        plain("recognise")
        fp32 = {"fp32_seconds": plain.seconds, "fp32_peak_rss_bytes": plain("usage")["peak_rss_bytes"]}
        plain.stop()
        for worker in workers.values():
            worker("reference")
        plans = {mode: worker("plan") for mode, worker in workers.items()}
        while any(plans.values()):
            for layer in tqdm(layers, desc=f"{name}: probes"):
                for mode, worker in workers.items():
                    if layer in plans[mode]:
                        worker.probed[layer] = worker("probe", layer)
            plans = {mode: worker("plan") for mode, worker in workers.items()}
        for layer in tqdm(layers, desc=f"{name}: searches"):
            for worker in workers.values():
                if layer in worker.selected:
                    worker.searched[layer] = worker("search", layer)
        rows = [
            {
                "model": name,
                "mode": mode,
                "wall_seconds": worker.seconds,
                **worker("usage"),
                "selected": " ".join(layer for layer in layers if layer in worker.selected),
                "percentiles": " ".join(f"{layer}:{p}" for layer, p in worker.percentiles.items()),
                "audio_seconds": worker("audio_seconds"),
                "device": device,
                **fp32,
                **otherwise(worker, workers["naive"], seed),
            }
            for mode, worker in workers.items()
        ]
        for worker in workers.values():
            worker.stop()
    return pd.DataFrame(rows, columns=COLUMNS)


def otherwise(worker: Worker, naive: Worker, seed: int) -> dict[str, int]:
    """Where a mode chose otherwise than naive did, and where that is more than chance."""
    layers = {*worker.selected} ^ {*naive.selected}
    common = [layer for layer in worker.selected if layer in naive.selected]
    cutoffs = [layer for layer in common if worker.percentiles[layer] != naive.percentiles[layer]]
    worse = 0
    for layer in cutoffs:
        tried = naive.searched[layer]
        low, _ = degradation_interval(tried[worker.percentiles[layer]], tried[naive.percentiles[layer]], seed)
        worse += low > 0
    return {
        "layers_otherwise": len(layers),
        "layers_surely_otherwise": sum(naive.probed[layer][1] for layer in layers),
        "cutoffs_otherwise": len(cutoffs),
        "cutoffs_worse": worse,
    }


def counts(*found: float) -> str:
    """Counts of which some may not have been measured."""
    return ", ".join("?" if np.isnan(count) else f"{count:.0f}" for count in found)


def markdown(table: pd.DataFrame) -> str:
    """The table as the documents show it; shares are of naive's."""
    rows = []
    for name, own in table.groupby("model", sort=False):
        naive = own[own["mode"] == "naive"].iloc[0]
        rows += [
            [
                *(name, row.mode, f"{row.passes:.1f}", f"{row.passes / naive.passes:.3f}"),
                *(f"{row.wall_seconds:.0f}", f"{row.wall_seconds / naive.wall_seconds:.3f}"),
                *(f"{row.peak_rss_bytes / row.fp32_peak_rss_bytes:.2f}", f"{row.disk_bytes / 1e6:.0f}"),
                counts(row.layers_otherwise, row.layers_surely_otherwise),
                counts(row.cutoffs_otherwise, row.cutoffs_worse),
            ]
            for row in own.itertuples()
        ]
    header = ["model", "mode", "passes", "of naive's", "wall time, s", "of naive's"]
    header += ["peak memory, of plain fp32's", "disk, MB", "layers otherwise, surely", "cut-offs otherwise, worse"]
    return markdown_table(header, rows)


def summarise(table: pd.DataFrame) -> str:
    """Ratios to naive, and what the search of LibriSpeech's dev-clean would take on this machine."""
    lines = []
    for name, rows in table.groupby("model", sort=False):
        naive = rows[rows["mode"] == "naive"].iloc[0]
        for row in rows.itertuples():
            same = "the same" if (row.selected, row.percentiles) == (naive.selected, naive.percentiles) else "other"
            dev_clean = DEV_CLEAN_HOURS * 3600 / row.audio_seconds
            stored = f", {row.disk_bytes * dev_clean / 1e9:.0f} GB of as many layers' values" if row.disk_bytes else ""
            lines.append(
                f"{name} {row.mode}: {row.passes:.1f} passes ({row.passes / naive.passes:.3f} of naive), "
                f"{row.wall_seconds:.0f} s ({row.wall_seconds / naive.wall_seconds:.3f}), peak memory "
                f"{row.peak_rss_bytes / row.fp32_peak_rss_bytes:.2f} of plain fp32's, {row.disk_bytes / 1e6:.0f} MB of "
                f"disk, {same} layers and percentiles; a pass takes "
                f"{row.wall_seconds / row.passes / row.fp32_seconds:.2f} of plain fp32's; dev-clean "
                f"({DEV_CLEAN_HOURS} h): about {row.wall_seconds * dev_clean / 3600:.1f} h{stored}"
            )
    return "\n".join(lines)


def prepare(name: str, folder: Path, audio_seconds: float) -> tuple[Path, Path]:
    """A model's checkpoint and table of utterances."""
    if name == "hubert-large-shape":
        return write_random_large(folder, audio_seconds)
    return list_in(folder, str(checkpoint_of(name)), DEMO["calibration"])


def list_in(folder: Path, checkpoint: str, calibration: Path) -> tuple[Path, Path]:
    """A checkpoint imported into ``folder``, and the table of a manifest's or a folder's utterances."""
    import_checkpoint(checkpoint, folder / "checkpoint")
    write_utterances(calibration, folder / "checkpoint", folder / "utterances.tsv")
    return folder / "checkpoint", folder / "utterances.tsv"


def main() -> None:
    parser = command_line(__doc__, markdown, summarise, out=OTHERS_KEPT, threads=True)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="what to search (all)")
    parser.add_argument(
        "--other", nargs=3, metavar=("NAME", "CHECKPOINT", "CALIBRATION"), help="search this in place of --models"
    )
    parser.add_argument("--audio-seconds", type=float, default=180, help="audio for hubert-large-shape (180)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="that searches (cpu)")
    parser.add_argument("--seed", type=int, default=CONFIG["seed"], help="of the audio's order and racing's draws (0)")
    arguments = parser.parse_args()
    for name in [arguments.other[0]] if arguments.other else arguments.models:
        with tempfile.TemporaryDirectory() as temporary:
            if arguments.other:
                checkpoint, utterances = list_in(Path(temporary), arguments.other[1], Path(arguments.other[2]))
            else:
                checkpoint, utterances = prepare(name, Path(temporary), arguments.audio_seconds)
            measured = measure(name, checkpoint, utterances, arguments.device, arguments.threads, arguments.seed)
        print(summarise(measured), flush=True)
        write_out(arguments.out, measured, keep_others=True)


if __name__ == "__main__":
    main()
