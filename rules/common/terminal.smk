# What the terminal shows of a run that was typed: its stages, and what is told when a job ended.

from pathlib import Path

from snakemake.logging import logger

from stablequant.errors import StableQuantError
from stablequant.recognisers.registry import family_of
from stablequant.workflow.fan_out import layers_of, layers_with_outputs
from stablequant.workflow.few_words import few_words, words_in
from stablequant.workflow.stages import Amount, Pace, estimate_of, passes_by_rule
from stablequant.workflow.terminal import show_stages


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
            layers = results / "layers.tsv"
            amount = Amount(len(layers_of(layers)), *heard, len(METHODS[model]), len(layers_with_outputs(layers)))
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
    if (rule, dict(wildcards)) != ("list_utterances", listing) and any(j.wildcards_dict == listing for j in is_listing):
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
