"""The command line: transcribe, evaluate and verify with a bundle."""

import io
import json
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stablequant.errors import StableQuantError

app = typer.Typer(
    help="Recognise speech with a bundle of StableQuant (results/MODEL/bundle, or a copy of it anywhere).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

BundleFolder = Annotated[Path, typer.Argument(metavar="BUNDLE", help="the bundle's folder", show_default=False)]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes all cores")]
Backend = Annotated[str, typer.Option(help="which of the bundle's engines to run")]
Memory = Annotated[float, typer.Option(min=1, help="megabytes for the hidden values of what is recognised at once")]


class Format(StrEnum):
    """``text``: one line per recording; ``json``: also the words with their times; ``srt``: subtitles."""

    TEXT = "text"
    JSON = "json"
    SRT = "srt"


@app.command()
def transcribe(
    bundle: BundleFolder,
    recordings: Annotated[
        list[str],
        typer.Argument(metavar="AUDIO...", help="recordings in any form soundfile reads; - is standard input"),
    ],
    format: Annotated[Format, typer.Option("--format", "-f", help="what is printed")] = Format.TEXT,
    chunk_seconds: Annotated[
        float,
        typer.Option(
            min=5,
            max=3600,
            help="longer recordings are cut into chunks of this length; best about as long as the training utterances",
        ),
    ] = 30,
    threads: Threads = 0,
    batch_mb: Memory = 400,
    backend: Backend = "openvino",
) -> None:
    """Print what is said in recordings of any length, rate and number of channels.

    Recordings that cannot be used are reported on standard error; the others are still transcribed, and the exit
    status is 1.
    """
    from stablequant.bundle.subtitles import subtitles
    from stablequant.bundle.transcribe import load_bundle
    from stablequant.progress import progress

    if format == Format.SRT and len(recordings) > 1:
        raise typer.BadParameter("subtitles need exactly one recording", param_hint="--format")
    recogniser = load_bundle(bundle, threads, batch_mb, chunk_seconds, backend)
    failed = False
    for recording in progress(recordings, label="transcribing") if len(recordings) > 1 else recordings:
        try:
            transcript = recogniser.transcribe(io.BytesIO(sys.stdin.buffer.read()) if recording == "-" else recording)
        except StableQuantError as error:
            typer.echo(f"error: {error}", err=True)
            failed = True
            continue
        if format == Format.JSON:
            typer.echo(json.dumps({"file": recording, **asdict(transcript)}, ensure_ascii=False))
        elif format == Format.SRT:
            typer.echo(subtitles(transcript.words))
        else:
            typer.echo(f"{recording}\t{transcript.text}" if len(recordings) > 1 else transcript.text)
    raise typer.Exit(int(failed))


@app.command()
def evaluate(
    bundle: BundleFolder,
    manifest: Annotated[Path, typer.Argument(help="fairseq's manifest or a table, transcripts inside or beside it")],
    audio_root: Annotated[Path | None, typer.Option(help="folder of the audio, if it is not the manifest's")] = None,
    out: Annotated[Path | None, typer.Option(help="write a TSV: utterance, transcript, hypothesis")] = None,
    threads: Threads = 0,
    batch_mb: Memory = 100,
    backend: Backend = "openvino",
) -> None:
    """Recognise a split and print its word error rate, the time spent in the engine and the speed."""
    from stablequant.bundle.write_bundle import read_bundle
    from stablequant.corpora.list_utterances import describe_rejections, list_utterances
    from stablequant.corpora.manifests import read_manifest
    from stablequant.engines.evaluate_engine import evaluate as judge
    from stablequant.engines.evaluate_engine import hypothesis_table
    from stablequant.engines.running import Stopwatch, load_engine, max_batch
    from stablequant.recognisers.sizes import MEGABYTE
    from stablequant.storage.files import write_table

    opened = read_bundle(bundle)
    engine = opened.engine(backend)
    networks, arithmetic = load_engine(engine, threads)
    clock = Stopwatch()
    decoder = opened.family.decoder(engine, clock.timing(networks))
    writing = opened.family.writing(bundle)
    listed = read_manifest(manifest, audio_root)
    utterances, rejections = list_utterances(listed, writing)
    if rejections:
        total = len(utterances) + len(rejections)
        typer.echo("\n".join(describe_rejections(listed.source or manifest, rejections, total)), err=True)
    if not utterances:
        raise StableQuantError(manifest, "it has no usable utterance", "see the lines above")
    batches = decoder.batches(utterances, batch_mb * MEGABYTE, max_batch(engine))
    found = judge(decoder, clock, utterances, batches, writing.sample_rate, repeats=1)
    speed = found.audio_seconds / found.wall_seconds
    typer.echo(f"{len(utterances)} utterances, {found.audio_seconds:.1f} s of audio, {arithmetic} arithmetic")
    typer.echo(f"{found.wall_seconds:.1f} s in the engine, {speed:.1f} times faster than real time")
    typer.echo(f"Word Error Rate (WER): {found.scored.wer:.2f}")
    if out:
        write_table(out, hypothesis_table(utterances, found.hypotheses))


@app.command()
def verify(bundle: BundleFolder, threads: Threads = 0, backend: Backend = "openvino") -> None:
    """Check that no file of a bundle changed and that this machine recognises its samples as before.

    The exit status is 1 if a file changed or a hypothesis differs.
    """
    from stablequant.bundle import verify as verification

    files, arithmetic, samples = verification.verify(bundle, backend, threads)
    typer.echo(f"{files} files unchanged; {backend} runs in {arithmetic} arithmetic")
    heard = list(samples)
    for sample in heard:
        if not sample.same:
            typer.echo(f"{sample.file}: expected '{sample.stored}', recognised '{sample.found}'", err=True)
    same = sum(sample.same for sample in heard)
    typer.echo(
        f"{same} of {len(heard)} stored hypotheses reproduced" if heard else "the bundle has no samples for this engine"
    )
    raise typer.Exit(int(same < len(heard)))


def main() -> None:
    """Run the command line. A fault in the user's data is printed as one sentence, and the exit status is 1."""
    try:
        app()
    except StableQuantError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        place = error.filename2 or error.filename or "standard output"
        typer.echo(f"error: {place}: {error.strerror or error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
