# What the terminal shows of a run that was typed: its stages, and what is told when a job ended.

from pathlib import Path

from snakemake.logging import logger

from stablequant.workflow.few_words import few_words, words_in
from stablequant.workflow.stages import Pace, passes_by_rule, seconds_per_pass
from stablequant.workflow.terminal import show_stages


def at_once():
    """Jobs that run at the same time: one for each core, or on a cluster as many as may be submitted."""
    settings = workflow.resource_settings
    return settings.cores or settings.nodes or 1


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
        Pace(passes_by_rule(config), at_once(), seconds_per_pass(list(config["models"]))),
        note_after,
    )
