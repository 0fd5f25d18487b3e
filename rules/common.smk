# Config and what rules ask of it. Nothing heavy is imported here: every cluster job parses this file again.

import csv
import errno
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))
os.environ |= {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.getenv("PYTHONPATH")]))}  # for the jobs

from stablequant.recognisers import sources
from stablequant.workflow import digest
from stablequant.workflow.config import resolve_config
from stablequant.errors import StableQuantError
from stablequant.workflow.fingerprint import fingerprint, set_back
from stablequant.report.captions import with_interval
from stablequant.recognisers.wav2vec2.layers import jobs_of_layers
from stablequant.corpora.manifests import audio_files, read_manifest, siblings, transcript_files
from stablequant.workflow.resources import audio_seconds, checkpoint_bytes, has_gpu, memory_mb, runtime_minutes


def manifest_of(settings, split):
    """The manifest of a model's split, which is a file."""
    root = settings.get("audio_root")
    return read_manifest(Path(settings[split]), Path(root) if root else None)


if " " in sys.executable:
    raise WorkflowError(f"{sys.executable}: Snakemake cannot start jobs from a path with a space; move the project")
try:
    resolve_config(config, ROOT / "config.schema.yaml")
    LAYERS = {
        name: sources.checkpoint_layers(settings["checkpoint"], settings.get("layers"), f"models: {name}: checkpoint")
        for name, settings in config["models"].items()
    }
    CHECKPOINT_BYTES = {
        name: checkpoint_bytes(settings["checkpoint"], LAYERS[name]) for name, settings in config["models"].items()
    }
    for settings in config["models"].values():
        for split in ("calibration", "evaluation"):
            if not Path(settings[split]).is_dir():
                manifest_of(settings, split)
except StableQuantError as error:
    raise WorkflowError(str(error)) from None
if workflow.is_main_process:
    looks_only = any(argument.startswith(("-n", "--dry", "--report")) for argument in sys.argv)
    if Path("results").exists() and not os.access("results", os.W_OK) and not looks_only:
        raise WorkflowError(
            f"{Path('results').absolute()}: read-only; make it writable, or run elsewhere (--directory)"
        )
    ahead = set_back(Path("results")) if os.access("results", os.W_OK) and not looks_only else 0
    if ahead:
        logger.warning(
            f"results: made up to {ahead / 60:.0f} minutes ahead of now, as after a clock was set back; their times were "
            "set back by as much, so that whatever is edited from now on counts as newer"
        )
COMBINATION_PASSES = (config["combination"]["suspects"] + 2) * (len(config["percentiles"]) + 3)  # at most
RACING = config["racing"] if config["racing"]["enabled"] else None
REFERENCE_PASSES = (  # fp32's own, and those that prove what is kept or computed in reduced precision
    1 + (config["precision"] != "float32") + config["cache"]["half"] * max(map(len, LAYERS.values()), default=0) / 2
)
PROBES = {name: jobs_of_layers(layers, config["probe"]["layers_per_job"]) for name, layers in LAYERS.items()}


wildcard_constraints:
    model="[A-Za-z0-9][A-Za-z0-9._-]*",
    split="calibration|evaluation",
    layer="[a-z]+[0-9]*",
    layers="[a-z]+[0-9]*(-[a-z]+[0-9]*)?",
    method="fp32|max|percentile|entropy|mse|stablequant",
    backend="openvino|onnxruntime|tensorrt-rtx|tensorrt",


def code_digest(script):
    """Digest of a script and of all project modules it runs: as a parameter it reruns the stage when they change."""
    return digest.code_digest(ROOT / "scripts" / f"{script}.py", ROOT)


def checkpoint_files(wildcards):
    """Files of a local checkpoint, so that a change of any reruns what follows."""
    return sources.checkpoint_files(config["models"][wildcards.model]["checkpoint"])


def manifest_files(wildcards):
    """A split's manifest, made by `write_manifest` where the config names a folder, and the transcripts beside it."""
    manifest = Path(config["models"][wildcards.model][wildcards.split])
    if manifest.is_dir():
        return f"results/{wildcards.model}/manifests/{wildcards.split}.tsv"
    return [str(file) for file in (manifest, *siblings(manifest))]


def audio_of_split(wildcards):
    """Fingerprint of a split's files: as a parameter it lists the split anew when one was changed under its name."""
    settings = config["models"][wildcards.model]
    split = Path(settings[wildcards.split])
    if split.is_dir():
        audio, listed = audio_files(split), []
    else:
        manifest = manifest_of(settings, wildcards.split)
        audio, listed = [manifest.root / entry.path for entry in manifest.entries], [split, *siblings(split)]
    transcripts = [file for folder in sorted({file.parent for file in audio}) for file in transcript_files(folder)]
    return fingerprint([*listed, *transcripts, *audio])


def audio_root(wildcards):
    """What takes the place of the root that a split's manifest names; a folder is its own root."""
    settings = config["models"][wildcards.model]
    return None if Path(settings[wildcards.split]).is_dir() else settings.get("audio_root")


def probe_of_layer(wildcards):
    """What the job measured that probed the layer."""
    jobs = PROBES[wildcards.model].items()
    job = next(job for job, layers in jobs if wildcards.layer in layers)
    return f"results/{wildcards.model}/sensitivity/{job}.json"


def searched_percentiles(wildcards):
    """Searches of the layers that the selection names."""
    with checkpoints.select_layers.get(model=wildcards.model).output[0].open() as table:
        header = table.readline().rstrip("\n").split("\t")
        rows = [dict(zip(header, line.rstrip("\n").split("\t"))) for line in table]
    selected = [row["layer"] for row in rows if row["selected"] == "True"]
    return expand("results/{model}/percentiles/{layer}.json", model=wildcards.model, layer=selected)


def scales_of_method(wildcards):
    """What a method's scales are chosen from; the plain calibrations need no percentiles, so they never wait."""
    results = f"results/{wildcards.model}"
    if wildcards.method == "stablequant":
        return {"histograms": f"{results}/prepared_histograms.safetensors", "choice": f"{results}/combination.json"}
    return {"histograms": f"{results}/histograms.safetensors"}


def procedure(wildcards):
    """The steps that a model's procedure adds to the paper's."""
    added = {key: config[key] for key in ("equalisation", "recentre", "split_audio", "rounding", "combination")}
    if config["models"][wildcards.model].get("procedure", config["procedure"]) == "paper":
        return {key: {"enabled": False} if isinstance(value, dict) else False for key, value in added.items()}
    return added


def of_this_run(tell):
    """``tell(wildcards, input)`` as a parameter that a caption shows.

    A table that is not there, or that an earlier version wrote otherwise, Snakemake takes for "not yet".
    """

    def told_or_not_yet(wildcards, input):
        try:
            return tell(wildcards, input)
        except (OSError, KeyError, ValueError, StableQuantError) as error:
            raise FileNotFoundError(errno.ENOENT, str(error), input[0]) from error

    return told_or_not_yet


def told(table, sentence, keep):
    """``sentence`` about each row of ``table`` that ``keep`` names, with the points of WER it loses, if it was judged."""
    with open(table) as lines:
        rows = [row for row in csv.DictReader(lines, delimiter="\t") if keep(row)]
    for row in rows:
        row["lost"] = with_interval(row) if row["degradation"] else None
    return "; ".join(sentence.format(**row) for row in rows)


@of_this_run
def points_lost(wildcards, input):
    """What each engine loses."""
    lost = told(input[0], "{method} ({backend}) {lost}", lambda row: row["degradation"] and row["method"] != "fp32")
    return lost or "no engine could be compared with fp32"


@of_this_run
def layers_selected(wildcards, input):
    """What each selected layer loses when quantized alone."""
    return told(input[0], "{layer} {lost}", lambda row: row["selected"] == "True") or "none"


@of_this_run
def cutoffs_chosen(wildcards, input):
    """Each searched layer's best cut-off, and what it loses with that."""
    return (
        told(input[0], "{layer} {percentile} %, {lost}", lambda row: row["best"] == "True") or "no layer was searched"
    )


@of_this_run
def layers_shown(wildcards, input):
    """The layers that lose most alone, what that is, and where the run cut them off."""
    from stablequant.storage.files import read_json, read_table  # only here, since they import pandas
    from stablequant.search.select_layers import most_sensitive

    shown = most_sensitive(read_table(Path(input.sensitivity)), HISTOGRAMS)
    cut_off = {
        row["layer"]: f", cut off at {row['percentile']} %"
        for row in read_json(Path(input.scales))["activations"].values()
    }
    layers = [f"{row['layer']} {with_interval(row)}{cut_off.get(row['layer'], '')}" for _, row in shown.iterrows()]
    equalised = ", channels equalised" if procedure(wildcards)["equalisation"]["enabled"] else ""
    return f"as they are quantized{equalised}. Points of WER that these layers lose alone: {'; '.join(layers)}"


@of_this_run
def points_lost_by_peers(wildcards, input):
    """What each quantizer's engine of this model loses."""

    def judged(row):
        return row["model"] == wildcards.model and row["degradation"] and row["method"] != "fp32"

    return told(input[0], "{method} {lost}", judged) or "no quantizer's engine could be judged"


@of_this_run
def failed_peers(wildcards, input):
    """Quantizers that made no engine of this model, and why."""
    failed = told(input[0], "{method} ({error})", lambda row: row["model"] == wildcards.model and row["error"])
    return failed or "none"


def summaries(pages):
    """What each of ``pages`` says of the files that it shows, by page."""

    @of_this_run
    def tell(wildcards, input):
        from stablequant.report.write_pages import summary  # only here, since it imports pandas

        folder = Path("results") / wildcards.model
        return {page: summary(page, [folder / file for file in files]) for page, files in pages.items()}

    return tell


def gpus(_wildcards):
    """1 for a job whose torch is to run on a GPU, else nothing. What `auto` finds is known only of this machine."""
    found = config["device"] == "auto" and workflow.is_main_process and workflow.local_exec and has_gpu()
    return 1 if found or config["device"] == "cuda" else None


def memory(copies):
    """Memory of a job that holds the checkpoint ``copies`` times."""
    return lambda wildcards, attempt: memory_mb(CHECKPOINT_BYTES[wildcards.model], copies, config["batch_mb"], attempt)


def runtime(passes=0, gpu=False):
    """Time of a job that recognises its utterances ``passes`` times, on a GPU if it may and there is one."""

    def minutes(wildcards, input, attempt):
        heard = passes * audio_seconds(Path(input.utterances)) if passes else 0
        on_gpu = gpu and gpus(wildcards) is not None
        return runtime_minutes(CHECKPOINT_BYTES[wildcards.model], heard, on_gpu, attempt)

    return minutes
