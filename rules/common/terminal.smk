# What the terminal shows of a run that was typed: its stages, and what is told when a job ended.

from pathlib import Path

from snakemake.logging import logger

from stablequant.errors import StableQuantError
from stablequant.recognisers.registry import family_of
from stablequant.workflow.fan_out import layers_of
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
            amount = Amount(len(layers_of(results / "layers.tsv")), *heard, len(METHODS[model]))
            found.append(passes_by_rule(config, PROCEDURES[model], amount))
        except (OSError, ArithmeticError, KeyError, ValueError, StableQuantError):  # not there, or of another version
            continue
    return found


def note_after(rule, wildcards):
    """What to tell when a job ended: once the calibration split is listed, that it has too few words."""
    table = Path(f"results/{wildcards.get('model')}/utterances/calibration.tsv")
    listed = rule == "list_utterances" and wildcards["split"] == "calibration" and table.is_file()
    if not is_typed() or not listed:
        return None
    return few_words(words_in(table), config["threshold"], f"calibration split of {wildcards['model']}")


if workflow.is_main_process and executes() and not workflow.output_settings.verbose:
    show_stages(
        logger,
        lambda: [(workflow.dag.jobid(job), job.rule.name) for job in workflow.dag.needrun_jobs()],
        Pace(lambda: estimate_of(passes_of_models(), config["models"]), at_once()),
        note_after,
    )
