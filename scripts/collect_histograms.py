"""Gather the histograms of all activations in one pass over the calibration set."""

from pathlib import Path

from stablequant.collection import collecting
from stablequant.front_end import read_front_end
from stablequant.histograms import save_histograms
from stablequant.jobs import job
from stablequant.layer_table import read_modules
from stablequant.recogniser import load_recogniser, torch_infer
from stablequant.recognition import audio_batches
from stablequant.utterances import read_utterances

with job(snakemake.log[0]) as log:
    checkpoint = Path(snakemake.input.checkpoint)
    utterances = read_utterances(Path(snakemake.input.utterances))
    model = load_recogniser(checkpoint, snakemake.params.device, threads=snakemake.threads)
    infer = torch_infer(model)
    batches = audio_batches(utterances, read_front_end(checkpoint), snakemake.params.batch_seconds, "histograms")
    with collecting(model, read_modules(Path(snakemake.input.layers))) as collectors:
        for _, audio in batches:
            infer(audio)
    histograms = {name: collector.histogram() for name, collector in collectors.items()}
    save_histograms(Path(snakemake.output[0]), histograms)
    log.info("%d activations over %d utterances", len(histograms), len(utterances))
