"""The command line: make a bundle, and transcribe, serve, evaluate and verify with it."""

import io
import json
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stablequant.bundle import making
from stablequant.errors import StableQuantError

app = typer.Typer(
    help="Quantize a speech recogniser, and recognise speech with the bundle that comes of it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(making.quantize)
app.command()(making.report)

BundleFolder = Annotated[Path, typer.Argument(metavar="BUNDLE", help="the bundle's folder", show_default=False)]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes all cores")]
Backend = Annotated[str, typer.Option(help="which of the bundle's engines to run")]
Memory = Annotated[float, typer.Option(min=1, help="megabytes for the hidden values of what is recognised at once")]
ChunkSeconds = Annotated[
    float,
    typer.Option(
        min=5,
        max=3600,
        help="longer recordings are cut into chunks of this length; best about as long as the training utterances",
    ),
]


class Format(StrEnum):
    """``text``: one line per recording; ``json``: also the words with their times; ``srt``, ``vtt``: subtitles."""

    TEXT = "text"
    JSON = "json"
    SRT = "srt"
    VTT = "vtt"


def _show_version(wanted: bool) -> None:
    if wanted:
        from stablequant.quantize.project import version

        typer.echo(version())
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="show the version and exit")
    ] = False,
) -> None:
    """Quantize a speech recogniser, and recognise speech with the bundle that comes of it."""


@app.command()
def transcribe(
    bundle: BundleFolder,
    recordings: Annotated[
        list[str],
        typer.Argument(metavar="AUDIO...", help="recordings that soundfile or ffmpeg reads; - is standard input"),
    ],
    format: Annotated[Format, typer.Option("--format", "-f", help="what is printed")] = Format.TEXT,
    chunk_seconds: ChunkSeconds = 30,
    threads: Threads = 0,
    batch_mb: Memory = 400,
    backend: Backend = "openvino",
) -> None:
    """Print what is said in recordings of any length, rate and number of channels.

    Recordings that cannot be used are reported on standard error; the others are still transcribed, and the exit
    status is 1.
    """
    from stablequant.bundle.subtitles import subrip, webvtt
    from stablequant.bundle.transcribe import load_bundle
    from stablequant.progress import progress

    if format in (Format.SRT, Format.VTT) and len(recordings) > 1:
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
        elif format in (Format.SRT, Format.VTT):
            typer.echo((subrip if format == Format.SRT else webvtt)(transcript.words))
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
    listed = read_manifest(manifest, audio_root, writing.labels)
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


@app.command()
def serve(
    bundle: BundleFolder,
    host: Annotated[
        str, typer.Option(help="address to listen on; other machines reach 0.0.0.0, with no password")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="port to listen on")] = 8000,
    threads: Threads = 0,
    batch_mb: Memory = 400,
    chunk_seconds: ChunkSeconds = 30,
    backend: Backend = "openvino",
    callers: Annotated[int, typer.Option(min=1, help="recordings that are recognised at the same time")] = 2,
    waiting: Annotated[int, typer.Option(min=0, help="further requests that wait; more are refused")] = 32,
    upload_mb: Annotated[float, typer.Option(min=0.01, help="largest request in megabytes")] = 100,
    upload_seconds: Annotated[float, typer.Option(min=0.1, help="time in which a request must arrive")] = 60,
    recognise_seconds: Annotated[float, typer.Option(min=0.1, help="time after which a client gets an error")] = 600,
) -> None:
    """Serve transcriptions over HTTP, with the interface of OpenAI's /v1/audio/transcriptions.

    Clients of OpenAI take http://HOST:PORT/v1 as their base address and any key. /health tells whether requests are
    taken, /metrics is for Prometheus. SIGINT or SIGTERM end the service once the requests that it took are answered.
    """
    from stablequant.bundle.transcribe import load_bundle

    try:
        from stablequant.bundle import serve as service
    except ImportError as missing:
        raise StableQuantError(
            "stablequant serve", f"it needs the package {missing.name}", "run: pip install 'stablequant[service]'"
        ) from missing
    recogniser = load_bundle(bundle, threads, batch_mb, chunk_seconds, backend)
    limits = service.Limits(upload_mb, callers, waiting, upload_seconds, recognise_seconds)
    typer.echo(f"{bundle} in {recogniser.arithmetic} arithmetic at http://{host}:{port}/v1", err=True)
    service.serve(recogniser, bundle.resolve().name, host, port, limits)


def main() -> None:
    """Run the command line. A fault in the user's data is printed as one sentence, and the exit status is 1."""
    try:
        app()
    except StableQuantError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
    except OSError as error:
        place = error.filename2 or error.filename or "standard output"
        typer.echo(f"error: {place}: {error.strerror or error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
