"""The commands that make a bundle and show what came of it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from stablequant.engines.backend import BACKENDS
from stablequant.errors import missing_package
from stablequant.workflow.methods import METHODS


class Unrecovered(StrEnum):
    """What becomes of layers that lose too much at every cut-off."""

    QUANTIZE = "quantize"
    KEEP = "keep"


class Procedure(StrEnum):
    """The search."""

    EXTENDED = "extended"
    PAPER = "paper"


class Search(StrEnum):
    """How much of the calibration audio each layer and cut-off is judged by."""

    EXHAUSTIVE = "exhaustive"
    SCREENED = "screened"


class Device(StrEnum):
    """Where the search runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def quantize(
    checkpoint: Annotated[
        str, typer.Argument(help="folder in Hugging Face layout, fairseq's .pt, or owner/name on the hub")
    ],
    calibration: Annotated[
        Path, typer.Option(help="table, manifest or folder of the speech that decides how to quantize")
    ],
    evaluation: Annotated[Path, typer.Option(help="other speech, which only judges the result")],
    out: Annotated[Path, typer.Option(help="folder for all results; a run that was stopped there goes on")],
    engines: Annotated[
        list[str] | None,
        typer.Option(help=f"of {', '.join(BACKENDS)}; openvino by default, several with commas"),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(help=f"what to compare with, of {', '.join(METHODS[1:-1])}; max by default, several with commas"),
    ] = None,
    target_lang: Annotated[
        str | None,
        typer.Option(help="language of the speech: for Whisper such as de, for checkpoints with adapters such as eng"),
    ] = None,
    audio_root: Annotated[Path | None, typer.Option(help="folder of the audio, if it is not the manifest's")] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, help="points of WER a layer may lose alone before its outliers are clipped")
    ] = None,
    calibration_seconds: Annotated[
        float | None, typer.Option(min=1, help="seconds of the calibration audio that are used, drawn at random")
    ] = None,
    procedure: Annotated[Procedure | None, typer.Option(help="extended (default), or the search as published")] = None,
    unrecovered: Annotated[
        Unrecovered | None,
        typer.Option(help="quantize (default), or keep in floating point, layers that lose too much"),
    ] = None,
    search: Annotated[
        Search | None,
        typer.Option(
            help="exhaustive (default) recognises all calibration audio for every layer and cut-off; screened, which "
            "is faster, only where a minute of it leaves doubt"
        ),
    ] = None,
    racing: Annotated[
        bool,
        typer.Option("--racing", help="stop testing a layer or cut-off once more audio can hardly change the answer"),
    ] = False,
    device: Annotated[Device | None, typer.Option(help="where the search runs")] = None,
    cores: Annotated[int, typer.Option(min=0, help="cores to use; 0 takes all")] = 0,
    acceptable_loss: Annotated[
        float | None,
        typer.Option(min=0, help="points of WER that may be lost to be called safe to deploy; 1 by default"),
    ] = None,
    keys: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="another key of the config, such as max_rejected=0.02 or cache.disk_mb=0; several are possible",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="say what the run will do and take, and stop")
    ] = False,
) -> None:
    """Quantize a recogniser to INT8, judge it, and write it into a folder that can be used anywhere.

    First the checkpoint is imported, the audio is checked and the machine is timed, and you are told what the run will
    do and take. The same command again goes on where it stopped, or does nothing. The exit status is 1 if the run
    failed.
    """
    try:
        from stablequant.quantize import command, settings
    except ImportError as missing:
        raise missing_package("stablequant quantize", missing.name, "search") from missing
    changes: dict[str, Any] = {
        "threshold": threshold,
        "calibration_seconds": calibration_seconds,
        "procedure": procedure and procedure.value,
        "unrecovered": unrecovered and unrecovered.value,
        "search": search and search.value,
        "racing": {"enabled": True} if racing else None,
        "device": device and device.value,
        "acceptable_loss": acceptable_loss,
    }
    options = settings.Options(
        checkpoint,
        calibration,
        evaluation,
        out,
        settings.engines_of(engines or []),
        settings.methods_of(methods or []),
        target_lang,
        audio_root,
        settings.changes_of({key: value for key, value in changes.items() if value is not None}, keys or []),
    )
    if not command.quantize(options, cores, dry_run, typer.echo):
        raise typer.Exit(1)
    typer.echo(str(out.absolute()))


def report(
    folder: Annotated[Path, typer.Argument(help="folder of a finished run, --out of stablequant quantize")],
    html: Annotated[
        Path | None, typer.Option(help="write the verdict, all plots and all tables into this one page")
    ] = None,
    acceptable_loss: Annotated[
        float | None,
        typer.Option(min=0, help="points of WER that may be lost to be called safe to deploy; default: the run's own"),
    ] = None,
) -> None:
    """Show what came of a finished run."""
    try:
        from stablequant.quantize import command
    except ImportError as missing:
        raise missing_package("stablequant report", missing.name, "search") from missing
    command.report(folder, html, acceptable_loss, typer.echo)
