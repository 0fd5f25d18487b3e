"""Recognise the evaluation set with one engine, or say why it cannot run here."""

from pathlib import Path

from stablequant.corpora.list_utterances import read_utterances
from stablequant.engines.evaluate_engine import EVALUATED, evaluate, hypothesis_table
from stablequant.engines.folder import max_batch, read_engine
from stablequant.engines.running import load_engine, reason_not_run
from stablequant.recognisers.batches import MEGABYTE, make_batches, read_footprint
from stablequant.recognisers.ctc.front_end import read_front_end
from stablequant.storage.files import write_json, write_table
from stablequant.workflow.jobs import job

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
        infer, result["arithmetic"] = load_engine(folder, snakemake.threads)
        memory = read_footprint(folder / "config.json")
        batches = make_batches(utterances, memory, snakemake.params.batch_mb * MEGABYTE, most=max_batch(folder))
        evaluation = evaluate(infer, utterances, batches, read_front_end(folder), snakemake.params.repeats)
        hypotheses = evaluation.hypotheses
        result |= {
            "status": EVALUATED,
            "wer": evaluation.scored.wer,
            "errors": evaluation.scored.errors.tolist(),
            "words": evaluation.scored.words.tolist(),
            "audio_seconds": evaluation.audio_seconds,
            "wall_seconds": evaluation.wall_seconds,
        }
    write_table(Path(snakemake.output.hypotheses), hypothesis_table(utterances, hypotheses))
    write_json(Path(snakemake.output.result), result)
    log.info("%s: %s, WER %s", folder, result["status"], result.get("wer", "not measured"))
if "wer" in result:
    print(f"Word Error Rate (WER): {result['wer']:.2f}")
