"""Recognise the evaluation set with one engine, or say why it cannot run here."""

from pathlib import Path

from stablequant.corpora.utterance import read_utterances
from stablequant.engines.backend import BACKENDS
from stablequant.engines.evaluate_engine import evaluate, hypothesis_table
from stablequant.engines.folder import EVALUATED, GPU, read_engine
from stablequant.engines.running import Stopwatch, load_engine, max_batch, reason_not_run
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.sizes import MEGABYTE
from stablequant.storage.files import write_json, write_table
from stablequant.workflow.jobs import job
from stablequant.workflow.provenance import processor

with job(snakemake.log[0], snakemake.threads) as log:
    folder = Path(snakemake.input.engine)
    utterances = read_utterances(Path(snakemake.input.utterances))
    description = read_engine(folder)
    kept = ("backend", "method", "version", "size_bytes", "onnx_bytes", "float_layers")
    result = {**{key: description[key] for key in kept}, "arithmetic": None}
    hypotheses = {}
    reason = reason_not_run(folder)
    if reason:
        result["status"] = f"built, not run: {reason}"
    else:
        networks, result["arithmetic"] = load_engine(folder, snakemake.threads)
        family, clock = family_of(folder), Stopwatch()
        decoder = family.decoder(folder, clock.timing(networks))
        batches = decoder.batches(utterances, snakemake.params.batch_mb * MEGABYTE, max_batch(folder))
        rate = family.sample_rate(folder)
        evaluation = evaluate(decoder, clock, utterances, batches, rate)
        hypotheses = evaluation.hypotheses
        result |= {
            "status": EVALUATED,
            "wer": evaluation.scored.wer,
            "errors": evaluation.scored.errors.tolist(),
            "words": evaluation.scored.words.tolist(),
            "speakers": None if (speakers := evaluation.scored.speakers) is None else speakers.tolist(),
            "audio_seconds": evaluation.audio_seconds,
            "wall_seconds": evaluation.wall_seconds,
            "machine": GPU if BACKENDS[result["backend"]].gpu_runs else processor(),
        }
    write_table(Path(snakemake.output.hypotheses), hypothesis_table(utterances, hypotheses))
    write_json(Path(snakemake.output.result), result)
    log.info("%s: %s, WER %s", folder, result["status"], result.get("wer", "not measured"))
if "wer" in result:
    print(f"{result['backend']}, {result['method']}: Word Error Rate (WER): {result['wer']:.2f}")
