# Config and what rules ask of it. Nothing heavy is imported here: every cluster job parses this file again. Only the main
# process reads the manifests and looks at the audio: in a job, parsing costs the same whatever the corpus holds.

import errno
import itertools
import json
import os
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path

from snakemake.cli import parse_args
from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.io import contains_wildcard
from snakemake.logging import logger
from snakemake.utils import update_config

ROOT = Path(str(workflow.current_basedir.get_path_or_uri(secret_free=True))).parent  # not of a workflow that imports us
LIBRARY = ROOT if (ROOT / "stablequant").is_dir() else ROOT.parent.parent  # as installed: stablequant/project/Snakefile
if not (LIBRARY / "stablequant/workflow").is_dir():
    raise WorkflowError(f"{ROOT}: StableQuant cannot be imported from there; clone it, and name its Snakefile on disk")
if LIBRARY == ROOT:  # a clone, which need not be installed
    sys.path.insert(0, str(ROOT))
    os.environ |= {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.getenv("PYTHONPATH")]))}  # for the jobs

from stablequant.corpora.manifests import TRANSCRIPTS, check_apart, list_folder, manifest_in, read_manifest, siblings
from stablequant.engines.backend import BACKENDS
from stablequant.errors import StableQuantError
from stablequant.recognisers import sources
from stablequant.recognisers.registry import family_of, family_of_config, heads_by_kind
from stablequant.workflow import digest
from stablequant.workflow.config import anchor, check_files, resolve_config
from stablequant.workflow.few_words import few_words, words_in
from stablequant.workflow.fan_out import jobs_of_layers, layers_of, selected_layers
from stablequant.workflow.fingerprint import fingerprint, fingerprint_with, set_back
from stablequant.workflow.procedure import read_procedure
from stablequant.workflow.stages import Amount, Pace, estimate_of, layers_per_job, passes_by_rule
from stablequant.workflow.terminal import show_causes, show_stages
from stablequant.workflow.resources import HUB_BYTES, audio_seconds, file_bytes, has_gpu, memory_mb, runtime_minutes

LOOKS = (  # options with which Snakemake shows or tidies, and runs no job
    *("dryrun", "lint", "list_target_rules", "list_rules", "print_compilation", "containerize", "report", "dag"),
    *("generate_unit_tests", "rulegraph", "filegraph", "d3dag", "unlock", "cleanup_metadata", "conda_cleanup_envs"),
    *("conda_create_envs_only", "list_conda_envs", "cleanup_shadow", "container_cleanup_images", "list_changes"),
    *("list_input_changes", "list_params_changes", "list_untracked", "summary", "detailed_summary", "archive"),
)


def is_typed():
    """Whether Snakemake itself was started, and not another program that runs this workflow, as `stablequant quantize`."""
    program = Path(sys.argv[0])
    return program.name == "snakemake" or program.parts[-2:] == ("snakemake", "__main__.py")


def executes():
    """Whether jobs are to run: whoever only looks at the workflow must change no file."""
    if not is_typed():
        return not workflow.output_settings.dryrun
    _, options = parse_args(sys.argv[1:])
    return not any(getattr(options, name, None) not in (None, False) for name in LOOKS)


def with_defaults(config):
    """``config`` with the defaults, from beside the Snakefile, of what it does not say.

    Where we run in another folder, the defaults' paths are those beside the Snakefile. A workflow that imports this one
    names all models itself.
    """
    defaults = load_configfile(ROOT / "config.yaml")
    if ROOT != Path.cwd():
        anchor(defaults, ROOT)
    if workflow.modifier.skip_configfile and "models" in config:
        defaults["models"] = {}
    update_config(defaults, config)
    return defaults


@cache
def read_split(path, root):
    """The manifest ``path`` with the audio below ``root``; of a folder, what `write_manifest` will list."""
    return list_folder(path) if path.is_dir() else read_manifest(path, root)


def manifest_of(settings, split):
    """The manifest of a model's split, which is read once."""
    root = settings.get("audio_root")
    return read_split(Path(settings[split]), Path(root) if root else None)


def check_braces(name, settings):
    """Refuse files whose names hold what Snakemake takes for a wildcard; it has no way to write them."""
    files = [Path(settings[key]) for key in ("calibration", "evaluation", "peers") if key in settings]
    files += [file for split in files[:2] if split.is_file() for file in siblings(split)]
    for file in (*files, *sources.checkpoint_files(settings["checkpoint"], settings.get("target_lang"))):
        if contains_wildcard(file):
            raise WorkflowError(
                f"config key 'models: {name}': Snakemake would read the braces in '{file}' as a wildcard; rename it, or "
                "give a link to it with another name"
            )


if not workflow.output_settings.verbose:
    show_causes(logger)
if " " in sys.executable:
    raise WorkflowError(f"{sys.executable}: Snakemake cannot start jobs from a path with a space; move the project")
if contains_wildcard(str(ROOT)):
    raise WorkflowError(f"{ROOT}: Snakemake would read the braces as a wildcard; move the project")
if workflow.modifier.path_modifier.prefix or workflow.modifier.path_modifier.modifies_prefixes:
    raise WorkflowError(
        "module: StableQuant's results cannot get a prefix; leave out 'prefix' and 'replace_prefix', or work in another "
        "folder (--directory)"
    )
try:
    if not workflow.modifier.skip_configfile:  # else the files are another workflow's, with other keys besides
        check_files([ROOT / "config.yaml", *map(Path, workflow.configfiles)])
    config = with_defaults(config)
    resolve_config(config, ROOT / "config.schema.yaml")
    for name, settings in config["models"].items():
        sources.check_source(settings["checkpoint"], f"config key 'models: {name}: checkpoint'")
        for split in ("calibration", "evaluation"):
            settings[split] = str(manifest_in(Path(settings[split])))
        check_braces(name, settings)
        if not sources.is_hub_identifier(settings["checkpoint"]):
            family_of(Path(settings["checkpoint"]))
        if workflow.is_main_process:
            splits = [manifest_of(settings, split) for split in ("calibration", "evaluation")]
            check_apart(*splits, f"config key 'models: {name}: evaluation'")
except StableQuantError as error:
    raise WorkflowError(str(error)) from None
if workflow.is_main_process and executes():
    if Path("results").exists() and not os.access("results", os.W_OK):
        raise WorkflowError(
            f"{Path('results').absolute()}: read-only; make it writable, or run elsewhere (--directory)"
        )
    if ahead := set_back(Path("results")):
        logger.warning(
            f"results: made up to {ahead / 60:.0f} minutes ahead of now, as after a clock was set back; their times were "
            "set back by as much, so that whatever is edited from now on counts as newer"
        )
PROCEDURES = {
    name: read_procedure(config, settings.get("procedure", config["procedure"]))
    for name, settings in config["models"].items()
}
ENGINES, METHODS, SAMPLES = (
    {name: settings.get(key, config[key]) for name, settings in config["models"].items()}
    for key in ("engines", "methods", "bundle_samples")
)
SEARCHED = [name for name, methods in METHODS.items() if "stablequant" in methods]  # for others nothing is searched


def at_once():
    """Jobs that run at the same time: one for each core, or on a cluster as many as may be submitted."""
    settings = workflow.resource_settings
    return settings.cores or settings.nodes or 1


def passes_of_models():
    """Passes of a job by rule, of each model whose layers and audio are listed."""
    found = []
    for model in config["models"]:
        results = Path(f"results/{model}")
        try:
            rate = family_of(results / "checkpoint").sample_rate(results / "checkpoint")
            tables = [results / f"utterances/{split}.tsv" for split in ("calibration", "evaluation")]
            heard = [length_of(table, table.stat().st_mtime_ns, rate) for table in tables]
            amount = Amount(len(layers_of(results / "layers.tsv")), *heard, len(METHODS[model]))
            found.append(passes_by_rule(config, PROCEDURES[model], amount))
        except (OSError, ArithmeticError, KeyError, ValueError, StableQuantError):  # not there, or of another version
            continue
    return found


NOTED = set()  # models of which it was told


def note_after(rule, wildcards):
    """What to tell when a job of a model ended: once, if its calibration split is listed, that this has too few words."""
    model = wildcards.get("model")
    table = Path(f"results/{model}/utterances/calibration.tsv")
    if not is_typed() or model in NOTED or not table.is_file():
        return None
    listing = {"model": model, "split": "calibration"}
    is_listing = (job for job in workflow.dag.needrun_jobs() if job.rule.name == "list_utterances")
    if (rule, dict(wildcards)) != ("list_utterances", listing) and any(dict(j.wildcards) == listing for j in is_listing):
        return None  # it is from an earlier run, and will be listed anew
    NOTED.add(model)
    return few_words(words_in(table), config["threshold"], f"calibration split of {model}")


if workflow.is_main_process and executes() and not workflow.output_settings.verbose:
    show_stages(
        logger,
        lambda: [(workflow.dag.jobid(job), job.rule.name) for job in workflow.dag.needrun_jobs()],
        Pace(lambda: estimate_of(passes_of_models(), config["models"]), at_once()),
        note_after,
    )
CONFIDENCE = config["racing"]["confidence"] if config["racing"]["enabled"] else None
SCREENED = config["search"] == "screened"
LAYERS_PER_JOB = layers_per_job(config)
COMBINATION_PASSES = (config["combination"]["suspects"] + 2) * (len(config["percentiles"]) + 3)  # at most
LAYERS_AT_MOST = 40  # of a checkpoint that was not imported yet, to estimate its jobs


wildcard_constraints:
    model="[A-Za-z0-9][A-Za-z0-9._-]*",
    split="calibration|evaluation",
    layer="[a-z]+[0-9]*",
    layers="[a-z]+[0-9]*(-[a-z]+[0-9]*)?",
    round="[1-9][0-9]*",
    method="fp32|max|percentile|entropy|mse|stablequant",
    backend="openvino|onnxruntime|tensorrt-rtx|tensorrt",


def not_yet(read):
    """``read(wildcards, input)`` as a parameter, with what it raises while its files are not there, or are of another kind.

    Snakemake also asks for it before the input is made, and takes a FileNotFoundError that names an input for "not yet".
    """

    def asked(wildcards, input):
        try:
            return read(wildcards, input)
        except (OSError, KeyError, ValueError, StableQuantError) as error:
            raise FileNotFoundError(errno.ENOENT, str(error), input[0]) from error

    return asked


def is_on_hub(model):
    """Whether a model's checkpoint is downloaded from the hub."""
    return sources.is_hub_identifier(config["models"][model]["checkpoint"])


def download_of(model):
    """What `download_checkpoint` found of a checkpoint on the hub; raises FileNotFoundError before."""
    return json.loads(Path(f"results/{model}/download.json").read_text(encoding="utf-8"))


def family_of_model(model):
    """Name of the family of a model's checkpoint."""
    if is_on_hub(model):
        return family_of_config(download_of(model)["config"], Path(f"results/{model}/download.json")).name
    return family_of(Path(config["models"][model]["checkpoint"])).name


@cache
def digest_asks(script):
    """What the digest of a script depends on besides: ``family``, ``backend``, both or nothing."""
    return digest.placeholders(ROOT / "scripts" / f"{script}.py", LIBRARY)


@cache
def digest_of(script, **chosen):
    """Digest of a script with the family and the backend that it uses."""
    return digest.code_digest(ROOT / "scripts" / f"{script}.py", LIBRARY, chosen)


def code_digest(script):
    """Digest of a script and of all project modules it runs: as a parameter it reruns the stage when they change.

    Of families and backends those count that the job uses. Snakemake asks anew for each job that is ready, whenever
    another one ended, so each digest is computed once.
    """

    # Snakemake compares only parameters that need nothing but wildcards, so this must not ask for the input.
    def of_job(wildcards):
        asked = digest_asks(script)
        chosen = {}
        if "family" in asked:
            try:
                chosen["family"] = family_of_model(wildcards.model)
            except OSError as error:  # on the hub, and not downloaded
                # an error that names FileNotFoundError means "not yet"
                raise WorkflowError(f"FileNotFoundError: {error}") from error
        if "backend" in asked:
            chosen["backend"] = BACKENDS[wildcards.backend].module
        return digest_of(script, **chosen)

    return of_job


def language(wildcards):
    """The language whose adapter is taken, of a checkpoint with several."""
    return config["models"][wildcards.model].get("target_lang")


def checkpoint_files(wildcards):
    """Files of a local checkpoint, so that a change of any reruns what follows, or what the hub gave."""
    if is_on_hub(wildcards.model):
        return [f"results/{wildcards.model}/download.json"]
    return sources.checkpoint_files(config["models"][wildcards.model]["checkpoint"], language(wildcards))


@not_yet
def checkpoint_source(wildcards, input):
    """Where the checkpoint is imported from; the hub's with its exact revision."""
    if is_on_hub(wildcards.model):
        return download_of(wildcards.model)["source"]
    return config["models"][wildcards.model]["checkpoint"]


def probe_jobs(model):
    """Layers by the job that probes them, once the checkpoint was imported."""
    table = Path(checkpoints.import_checkpoint.get(model=model).output.layers)
    return jobs_of_layers(layers_of(table), LAYERS_PER_JOB)


def probes(wildcards):
    """What the jobs measured that probe layers: all, or with a screen those that its rounds name."""
    jobs = planned_probes(wildcards.model) if SCREENED else probe_jobs(wildcards.model)
    return expand("results/{model}/sensitivity/{layers}.json", model=wildcards.model, layers=jobs)


def round_of_probes(model, number):
    """Layers that a round of the screen has named, and whether all of them were recognised before."""
    plan = checkpoints.plan_probes.get(model=model, round=number).output[0]
    return json.loads(Path(plan).read_text(encoding="utf-8"))


def planned_probes(model):
    """Layers to recognise in full: those of the last round."""
    for number in itertools.count(1):
        plan = round_of_probes(model, number)
        if plan["complete"]:
            return plan["layers"]


def probes_before(wildcards):
    """What the probes measured that the rounds before have named."""
    number = int(wildcards.round)
    layers = round_of_probes(wildcards.model, number - 1)["layers"] if number > 1 else []
    return expand("results/{model}/sensitivity/{layers}.json", model=wildcards.model, layers=layers)


def screen_of_model(wildcards):
    """What the screen measured, if there is one."""
    return f"results/{wildcards.model}/screen.json" if SCREENED else []


def probed_layers(wildcards, input):
    """Layers that one job probes."""
    jobs = jobs_of_layers(layers_of(Path(input.layers)), LAYERS_PER_JOB)
    if wildcards.layers not in jobs:
        raise WorkflowError(f"{wildcards.layers}: no job probes that; the jobs of {wildcards.model}: {', '.join(jobs)}")
    return jobs[wildcards.layers]


def manifest_files(wildcards):
    """A split's manifest, made by `write_manifest` where the config names a folder, and the transcripts beside it."""
    manifest = Path(config["models"][wildcards.model][wildcards.split])
    if manifest.is_dir():
        return f"results/{wildcards.model}/manifests/{wildcards.split}.tsv"
    return [str(file) for file in (manifest, *siblings(manifest))]


def audio_of_split(wildcards):
    """Fingerprint of a split's files: as a parameter it lists the split anew when one was changed under its name.

    None in a job's own process: the main process compares and records parameters.
    """
    return audio_of(wildcards.model, wildcards.split) if workflow.is_main_process else None


@cache
def audio_of(model, name):
    """The same, looked at once."""
    settings = config["models"][model]
    split = Path(settings[name])
    listed = [] if split.is_dir() else [split, *siblings(split)]
    return fingerprint(listed) + fingerprint_with(manifest_of(settings, name).files(), TRANSCRIPTS)


def audio_root(wildcards):
    """What takes the place of the root that a split's manifest names; a folder is its own root."""
    settings = config["models"][wildcards.model]
    return None if Path(settings[wildcards.split]).is_dir() else settings.get("audio_root")


def part_of_split(wildcards):
    """How much of a split is used, and the seed that draws it; None for all of it."""
    if wildcards.split != "calibration" or config["calibration_seconds"] is None:
        return None
    return {"seconds": config["calibration_seconds"], "seed": config["seed"]}


def probe_of_layer(wildcards):
    """What the job measured that probed the layer."""
    jobs = probe_jobs(wildcards.model).items()
    job = next((job for job, layers in jobs if wildcards.layer in layers), None)
    if job is None:
        raise WorkflowError(f"{wildcards.layer}: {wildcards.model} has no such layer")
    return f"results/{wildcards.model}/sensitivity/{job}.json"


def searched_percentiles(wildcards):
    """Searches of the layers that the selection names."""
    table = Path(checkpoints.select_layers.get(model=wildcards.model).output[0])
    return expand("results/{model}/percentiles/{layer}.json", model=wildcards.model, layer=selected_layers(table))


def scales_of_method(wildcards):
    """What a method's scales are chosen from; the plain calibrations need no percentiles, so they never wait."""
    results = f"results/{wildcards.model}"
    if wildcards.method == "stablequant":
        return {"histograms": f"{results}/prepared_histograms.safetensors", "choice": f"{results}/combination.json"}
    return {"histograms": f"{results}/histograms.safetensors"}


def of_each_engine(pattern, method="{method}"):
    """Files of all engines of a model; ``pattern`` has the wildcards ``model``, ``backend`` and ``method``."""

    def files(wildcards):
        model = wildcards.model
        methods = METHODS[model] if method == "{method}" else [method]
        return expand(pattern, model=model, backend=ENGINES[model], method=methods)

    return files


def procedure(wildcards):
    """The steps that a model's procedure adds to the paper's."""
    return PROCEDURES[wildcards.model]


def massive_channels(wildcards):
    """How massive channels are searched, with the other settings that this depends on; None where they are not."""
    found = procedure(wildcards)
    if found.massive_channels is None:
        return None
    return {"massive_channels": found.massive_channels, "recentre": found.recentre}


def backend_settings(wildcards):
    """The backend's block of the config."""
    block = BACKENDS[wildcards.backend].settings
    return config[block] if block else {}


def lengths_to_tune_for(wildcards):
    """Utterances of whose lengths an engine is built, where it is built for any."""
    return f"results/{wildcards.model}/utterances/evaluation.tsv" if BACKENDS[wildcards.backend].tuned else []


def gpus(_wildcards):
    """1 for a job whose torch is to run on a GPU, else nothing. What `auto` finds is known only of this machine."""
    found = config["device"] == "auto" and workflow.is_main_process and workflow.local_exec and has_gpu()
    return 1 if found or config["device"] == "cuda" else None


def cores_to_judge_on(wildcards):
    """All cores for an engine that is timed; one for an engine that needs a GPU where there is none: it is not run."""
    idle = BACKENDS[wildcards.backend].gpu_runs and workflow.local_exec and not has_gpu()
    return 1 if idle else workflow.cores


def model_bytes(model):
    """Size of a model's checkpoint; of one on the hub a guess until it is downloaded."""
    if not is_on_hub(model):
        settings = config["models"][model]
        return file_bytes(sources.checkpoint_files(settings["checkpoint"], settings.get("target_lang")))
    try:
        return download_of(model)["bytes"]
    except OSError:
        return HUB_BYTES


def memory(copies):
    """Memory of a job that holds the checkpoint ``copies`` times, which may be a function of the model."""

    def megabytes(wildcards, attempt):
        times = copies(wildcards.model) if callable(copies) else copies
        return memory_mb(model_bytes(wildcards.model), times, config["batch_mb"], attempt)

    return megabytes


def runtime(passes=0, gpu=False):
    """Time of a job that recognises its utterances ``passes`` times, on a GPU if it may and there is one.

    ``passes`` may be a function of the model. None in a job's own process, which has its time already.
    """

    def minutes(wildcards, input, attempt):
        if not workflow.is_main_process:
            return None
        times = passes(wildcards.model) if callable(passes) else passes
        heard = times * heard_seconds(wildcards, input) if times else 0
        on_gpu = gpu and gpus(wildcards) is not None
        return runtime_minutes(model_bytes(wildcards.model), heard, on_gpu, attempt)

    return minutes


def timed_seconds(model):
    """Length of the audio that all engines of a backend recognise to be timed."""
    engines = len(METHODS[model]) + 1  # fp32 is loaded twice
    return 2 * engines * config["timing"]["rounds"] * config["timing"]["audio_seconds"]


@not_yet
def heard_seconds(wildcards, input):
    """Length of a job's utterances."""
    imported = Path(f"results/{wildcards.model}/checkpoint")
    table = Path(input.utterances)
    return length_of(table, table.stat().st_mtime_ns, family_of(imported).sample_rate(imported))


@cache
def length_of(table, _modified, sample_rate):
    """Seconds of the utterances in a table, which is read once for all jobs."""
    return audio_seconds(table, sample_rate)


def reference_passes(model):
    """fp32's own pass, and those that verify what is kept or computed in reduced precision."""
    table = Path(f"results/{model}/layers.tsv")
    layers = len(layers_of(table)) if table.is_file() else LAYERS_AT_MOST
    return 1 + (config["precision"] != "float32") + config["cache"]["half"] * layers / 2


PLOTS = ["comparison", "tradeoff", "timeline"]
PLOTS_OF_THE_SEARCH = ["sensitivity", "percentiles", "histograms"]
TABLES = ["comparison.tsv", "hypotheses.tsv", "precision.tsv"]
TABLES_OF_THE_SEARCH = ["sensitivity.tsv", "percentiles.tsv", "combination.tsv", "scales/stablequant.json"]


def reported(wildcards):
    """Plots and tables of a model."""
    model, results = wildcards.model, f"results/{wildcards.model}"
    searched = model in SEARCHED
    plots = (
        PLOTS + (PLOTS_OF_THE_SEARCH if searched else []) + (["peers"] if "peers" in config["models"][model] else [])
    )
    tables = TABLES + (TABLES_OF_THE_SEARCH if searched else [])
    return [*(f"{results}/plots/{plot}.svg" for plot in plots), *(f"{results}/{table}" for table in tables)]
