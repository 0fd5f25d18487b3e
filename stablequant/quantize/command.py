"""`stablequant quantize` and `stablequant report`: from a checkpoint to a verdict."""

import shlex
from collections.abc import Callable
from pathlib import Path

from stablequant.errors import StableQuantError
from stablequant.quantize.plan import FILES, make_plan
from stablequant.quantize.run import cores_here, run_workflow
from stablequant.quantize.settings import Options, merged_config, write_config
from stablequant.quantize.short_path import bundle_to_name
from stablequant.report.show import show
from stablequant.report.verdict import ACCEPTABLE_LOSS, FinishedRun, verdict
from stablequant.report.write_report import report as write_report
from stablequant.storage.files import read_json, write_text
from stablequant.workflow.few_words import few_words

Say = Callable[[str], None]


def quantize(options: Options, cores: int, dry_run: bool, say: Say) -> bool:
    """Import the checkpoint and list the audio, say what the run will take, run it, and say what came of it.

    Returns whether the run succeeded; the cause was shown if it did not. A dry run stops before the search.
    """
    write_config(options)
    cores = cores or cores_here()
    results = options.out / "results" / options.model
    say(f"{options.checkpoint}: reading the checkpoint and the audio, and timing this machine")
    if not run_workflow(options.out, [f"results/{options.model}/{name}" for name in FILES], cores):
        return False
    config = merged_config(options)
    plan = make_plan(results, config["models"][options.model], config, cores)
    for line in plan.lines():
        say(line)
    if warning := few_words(plan.calibration.words, plan.threshold, "calibration split"):
        say(warning)
    if dry_run:
        say("nothing was quantized (--dry-run); the same command without it goes on from here")
        return True
    if not run_workflow(options.out, [], cores):
        return False
    found = verdict(results, config["acceptable_loss"])
    for line in found.lines:
        say(line)
    bundle = bundle_to_name(options.out, options.model)
    say(f"the report: {results / 'report.html'}")
    say(f"the bundle: {bundle}")
    if any(engine.ran for engine in found.engines):
        say(f"try it: stablequant transcribe {shlex.quote(str(bundle))} RECORDING")
    return True


def report(folder: Path, page: Path | None, acceptable: float | None, say: Say) -> None:
    """Say again what came of the runs in ``folder``, and write their report into one ``page`` if one is named.

    ``acceptable`` is in points of WER; None takes that of the runs.

    Raises `StableQuantError` if nothing is finished there, or if another version made it.
    """
    tables = sorted(folder.glob("results/*/comparison.tsv"))
    if not tables:
        raise StableQuantError(
            folder,
            "no finished run in it (results/*/comparison.tsv)",
            "give the folder that was --out of a finished run",
        )
    models = {table.parent.name: _run_in(table.parent, acceptable) for table in tables}
    for name, run in models.items():
        say(f"{name}:")
        say(show(run.results / "comparison.tsv"))
        if (run.results / "bundle").is_dir():
            for line in verdict(run.results, run.acceptable).lines:
                say(line)
    if page is not None:
        try:
            write_text(page, write_report(models))
        except KeyError as missing:
            raise StableQuantError(
                folder, f"made by another version of StableQuant: its tables lack {missing}", "run it again"
            ) from missing
        say(str(page))


def _run_in(results: Path, acceptable: float | None) -> FinishedRun:
    """The finished run in ``results``, with what its bundle tells of its config, if there is one."""
    file = results / "bundle/quantization.json"
    record = read_json(file) if file.is_file() else {}
    limit = record.get("acceptable_loss", ACCEPTABLE_LOSS) if acceptable is None else acceptable
    return FinishedRun(results, str(record.get("note", "")), float(limit))
