"""The command line: make a bundle, and transcribe, serve, evaluate and verify with it."""

import io
import json
import logging
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stablequant.bundle import making
from stablequant.errors import StableQuantError, missing_package

if TYPE_CHECKING:
    from stablequant.recognisers.decoder import BeamSearch

app = typer.Typer(
    help="Quantize a speech recogniser, and recognise speech with the bundle that comes of it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(making.quantize)
app.command()(making.report)

BundleFolder = Annotated[Path, typer.Argument(metavar="BUNDLE", help="the bundle's folder", show_default=False)]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes all cores")]
Backend = Annotated[
    str | None, typer.Option(help="which of the bundle's engines to run; the default is the first that runs here")
]
Memory = Annotated[float, typer.Option(min=1, help="megabytes for the hidden values of what is recognised at once")]
ChunkSeconds = Annotated[
    float | None,
    typer.Option(
        min=5,
        max=3600,
        help="longer recordings are cut into chunks of this length; the default is what the model was calibrated on",
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(help="a folder of your own where OpenVINO keeps what it compiles; the next start is faster"),
]
LanguageModel = Annotated[
    Path | None, typer.Option("--lm", help="n-gram language model, ARPA or KenLM's binary; needs the extra `lm`")
]
HotWords = Annotated[
    Path | None, typer.Option("--hot-words", help="expected words or phrases, one per line; needs the extra `lm`")
]
Beam = Annotated[int, typer.Option(min=1, help="texts that the language model chooses among")]
Weight = Annotated[float, typer.Option("--lm-weight", min=0, help="weight of the language model")]
WordBonus = Annotated[float, typer.Option(help="added to the score for each word, with a language model")]


def _search(lm: Path | None, hot_words: Path | None, beam: int, weight: float, bonus: float) -> "BeamSearch | None":
    """The search that the options ask for; None if they ask for none."""
    from stablequant.bundle.transcribe import read_hot_words
    from stablequant.recognisers.decoder import BeamSearch

    if lm is None and hot_words is None:
        return None
    expected = [] if hot_words is None else read_hot_words(hot_words)
    return BeamSearch(lm, expected, beam=beam, weight=weight, word_bonus=bonus)


class Format(StrEnum):
    """``text``: one line per recording; ``json``: also the words with their times; ``srt``, ``vtt``: subtitles."""

    TEXT = "text"
    JSON = "json"
    SRT = "srt"
    VTT = "vtt"


def _show_version(wanted: bool) -> None:
    if wanted:
        from stablequant.workflow.version import version

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
    format: Annotated[
        Format,
        typer.Option("--format", "-f", help="text, json (also the words with their times), or subtitles: srt, vtt"),
    ] = Format.TEXT,
    chunk_seconds: ChunkSeconds = None,
    threads: Threads = 0,
    batch_mb: Memory = 400,
    backend: Backend = None,
    cache: Cache = None,
    lm: LanguageModel = None,
    hot_words: HotWords = None,
    beam: Beam = 100,
    lm_weight: Weight = 0.5,
    word_bonus: WordBonus = 1.5,
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
    search = _search(lm, hot_words, beam, lm_weight, word_bonus)
    recogniser = load_bundle(bundle, threads, batch_mb, chunk_seconds, backend, search, cache=cache)
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
    backend: Backend = None,
    lm: LanguageModel = None,
    hot_words: HotWords = None,
    beam: Beam = 100,
    lm_weight: Weight = 0.5,
    word_bonus: WordBonus = 1.5,
    fp32: Annotated[
        Path | None,
        typer.Option(help="with --lm: engine before quantization, if it is not results/MODEL/engines/BACKEND/fp32"),
    ] = None,
) -> None:
    """Recognise a split and print its word error rate, the time spent in the engine and the speed.

    With --lm or --hot-words it also says what they gain, and, if the fp32 engine is there, whether the loss by
    quantization survives them.
    """
    from stablequant.bundle.choose_engine import choose_engine
    from stablequant.bundle.judge import Judge, describe, reference_engine
    from stablequant.bundle.read_bundle import read_bundle
    from stablequant.corpora.list_utterances import describe_rejections, list_utterances
    from stablequant.corpora.manifests import read_manifest
    from stablequant.engines.evaluate_engine import hypothesis_table
    from stablequant.recognisers.sizes import MEGABYTE
    from stablequant.storage.files import write_table

    search = _search(lm, hot_words, beam, lm_weight, word_bonus)
    opened = read_bundle(bundle)
    engine = choose_engine(opened, backend)
    judge = Judge(opened, engine, search, threads, batch_mb * MEGABYTE)
    reference = None if search is None else reference_engine(opened, engine, fp32)
    before = None if reference is None else Judge(opened, reference, search, threads, batch_mb * MEGABYTE)
    front_end = opened.family.front_end(bundle)
    listed = read_manifest(manifest, audio_root, front_end.labels)
    utterances, rejections = list_utterances(listed, front_end)
    if rejections:
        total = len(utterances) + len(rejections)
        typer.echo("\n".join(describe_rejections(listed.source or manifest, rejections, total)), err=True)
    if not utterances:
        raise StableQuantError(manifest, "it has no usable utterance", "see the lines above")
    judged = judge.judge(utterances)
    alone, found = judged.alone, judged.searched or judged.alone
    speed = alone.audio_seconds / alone.wall_seconds
    typer.echo(f"{len(utterances)} utterances, {alone.audio_seconds:.1f} s of audio, {judge.arithmetic} arithmetic")
    typer.echo(f"{alone.wall_seconds:.1f} s in the engine, {speed:.1f} times faster than real time")
    if search is not None:
        typer.echo("\n".join(describe(judged, None if before is None else before.judge(utterances))))
    if search is not None and before is None:
        typer.echo("--fp32 results/MODEL/engines/BACKEND/fp32 shows what quantization costs with it", err=True)
    typer.echo(f"Word Error Rate (WER): {found.scored.wer:.2f}")
    if out:
        write_table(out, hypothesis_table(utterances, found.hypotheses))


@app.command()
def verify(bundle: BundleFolder, threads: Threads = 0, backend: Backend = None) -> None:
    """Check that no file of a bundle changed and that this machine recognises its samples as before.

    The exit status is 1 if a file changed or a hypothesis differs. The model card, README.md, may be edited.
    """
    from stablequant.bundle import verify as verification

    found = verification.verify(bundle, backend, threads)
    typer.echo(f"{found.files} files unchanged; {found.backend} runs in {found.arithmetic} arithmetic")
    heard = list(found.samples)
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
    port: Annotated[int, typer.Option(min=0, max=65535, help="port to listen on; 0 takes a free one")] = 8000,
    threads: Threads = 0,
    batch_mb: Memory = 400,
    chunk_seconds: ChunkSeconds = None,
    backend: Backend = None,
    cache: Cache = None,
    lm: LanguageModel = None,
    hot_words: HotWords = None,
    beam: Beam = 100,
    lm_weight: Weight = 0.5,
    word_bonus: WordBonus = 1.5,
    callers: Annotated[int, typer.Option(min=1, help="recordings that are recognised at the same time")] = 2,
    waiting: Annotated[int, typer.Option(min=0, help="further requests that wait; more are refused")] = 32,
    uploads: Annotated[int, typer.Option(min=1, help="requests that arrive at the same time; more are refused")] = 64,
    audio_seconds: Annotated[int, typer.Option(min=1, help="longest recording in seconds")] = 3600,
    upload_mb: Annotated[float, typer.Option(min=0.01, help="largest request in megabytes")] = 100,
    upload_seconds: Annotated[float, typer.Option(min=0.1, help="time in which a request must arrive")] = 60,
    recognise_seconds: Annotated[
        float, typer.Option(min=0.1, help="time after an upload after which its client gets an error")
    ] = 600,
    language: Annotated[
        str | None, typer.Option(help="code of the recogniser's language, such as en, if the bundle does not say")
    ] = None,
) -> None:
    """Serve transcriptions over HTTP, with the interface of OpenAI's /v1/audio/transcriptions.

    Clients of OpenAI take http://HOST:PORT/v1 as their base address and any key. /health tells whether requests are
    taken, /metrics is for Prometheus. SIGINT or SIGTERM end the service once the requests that it took are answered.
    """
    from stablequant.bundle.transcribe import load_bundle

    try:
        from stablequant.bundle import serve as service
    except ImportError as missing:
        raise missing_package("stablequant serve", missing.name, "service") from missing
    search = _search(lm, hot_words, beam, lm_weight, word_bonus)
    recogniser = load_bundle(bundle, threads, batch_mb, chunk_seconds, backend, search, audio_seconds, cache)
    if language and recogniser.language not in (None, language):
        raise StableQuantError(bundle, f"it names its language itself: {recogniser.language}", "leave out --language")
    limits = service.Limits(upload_mb, callers, waiting, uploads, upload_seconds, recognise_seconds)
    written = recogniser.language or language
    config = service.configure(recogniser, bundle.resolve().name, host, port, limits, written)
    service.serve(config, lambda at: typer.echo(f"{bundle} in {recogniser.arithmetic} arithmetic at {at}", err=True))


class Server(StrEnum):
    """``triton``: NVIDIA Triton; ``ovms``: OpenVINO Model Server."""

    TRITON = "triton"
    OVMS = "ovms"


@app.command()
def export(
    bundle: BundleFolder,
    server: Annotated[Server, typer.Option("--for", help="the server", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            help="folder of the model repository; an earlier export of this model is replaced", show_default=False
        ),
    ],
    name: Annotated[str, typer.Option(help="the model's name in the server")] = "recogniser",
) -> None:
    """Write the bundle's network as a model repository of Triton or of OpenVINO Model Server.

    The server computes logits; its clients prepare the audio and decode, as the bundle's card says.
    """
    from stablequant.bundle.export_for_server import export_for_ovms, export_for_triton
    from stablequant.bundle.read_bundle import read_bundle

    write = export_for_triton if server == Server.TRITON else export_for_ovms
    write(read_bundle(bundle), name, out)
    typer.echo(out)


def main() -> None:
    """Run the command line. A fault in the user's data is printed as one sentence, and the exit status is 1."""
    logging.basicConfig(format="%(message)s")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name need not be UTF-8; in JSON this is its escape
        sys.stdout.reconfigure(errors="backslashreplace")
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
