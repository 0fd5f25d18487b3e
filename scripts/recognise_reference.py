"""Recognise the calibration set in fp32."""

from pathlib import Path

from stablequant.front_end import read_front_end
from stablequant.jobs import job
from stablequant.recogniser import load_recogniser, torch_infer
from stablequant.recognition import recognise
from stablequant.reference import save_reference
from stablequant.utterances import read_utterances

with job(snakemake.log[0]) as log:
    checkpoint = Path(snakemake.input.checkpoint)
    utterances = read_utterances(Path(snakemake.input.utterances))
    model = load_recogniser(checkpoint, snakemake.params.device, threads=snakemake.threads)
    recognition = recognise(
        torch_infer(model), utterances, read_front_end(checkpoint), snakemake.params.batch_seconds, "fp32"
    )
    save_reference(Path(snakemake.output.summary), Path(snakemake.output.posteriors), recognition, utterances)
    log.info("WER of fp32 on the calibration set: %.2f %%", recognition.score(utterances).wer)
