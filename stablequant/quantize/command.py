"""`stablequant quantize` and `stablequant report`: from a checkpoint to a verdict."""

from collections.abc import Callable
from pathlib import Path

from stablequant.errors import StableQuantError
from stablequant.quantize.plan import FILES, make_plan
from stablequant.quantize.run import cores_here, run_workflow
from stablequant.quantize.settings import Options, merged_config, write_config
from stablequant.report.show import show
from stablequant.report.verdict import verdict
from stablequant.report.write_report import report as write_report
from stablequant.storage.files import read_json, write_text
from stablequant.workflow.few_words import few_words

Say = Callable[[str], None]


def quantize(options: Options, cores: int, acceptable: float, dry_run: bool, say: Say) -> bool:
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
    for line in verdict(results, acceptable).lines:
        say(line)
    bundle = results / "bundle"
    say(f"the report: {results / 'report.html'}")
    say(f"try it: stablequant transcribe {bundle} RECORDING")
    return True


def report(folder: Path, page: Path | None, acceptable: float, say: Say) -> None:
    """Say again what came of the runs in ``folder``, and write their report into one ``page`` if one is named.

    Raises `StableQuantError` if nothing is finished there, or if another version made it.
    """
    tables = sorted(folder.glob("results/*/comparison.tsv"))
    if not tables:
        raise StableQuantError(
            folder,
            "no finished run in it (results/*/comparison.tsv)",
            "give the folder that was --out of a finished run",
        )
    for table in tables:
        say(f"{table.parent.name}:")
        say(show(table))
        if (table.parent / "bundle").is_dir():
            for line in verdict(table.parent, acceptable).lines:
                say(line)
    if page is not None:
        models = {table.parent.name: (table.parent, _note(table.parent)) for table in tables}
        try:
            write_text(page, write_report(models, acceptable))
        except KeyError as missing:
            raise StableQuantError(
                folder, f"made by another version of StableQuant: its tables lack {missing}", "run it again"
            ) from missing
        say(str(page))


def _note(results: Path) -> str:
    """What the config of a finished run says of the model or its data; blank if there is no bundle."""
    record = results / "bundle/quantization.json"
    return str(read_json(record).get("note", "")) if record.is_file() else ""
