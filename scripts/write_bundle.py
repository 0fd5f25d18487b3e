"""Gather all that is needed to use the quantized recogniser elsewhere."""

from pathlib import Path

import numpy as np

from stablequant.bundle.card import model_card, privacy_note
from stablequant.bundle.write_bundle import Sample, write_bundle
from stablequant.corpora.utterance import load_audio, read_utterances
from stablequant.recognisers.registry import family_of
from stablequant.report.verdict import FinishedRun
from stablequant.storage.files import read_json, read_table
from stablequant.workflow.jobs import job
from stablequant.workflow.provenance import provenance_of

with job(snakemake.log[0]) as log:
    files, params = snakemake.input, snakemake.params
    model = snakemake.wildcards.model
    scales = read_json(Path(files.scales))
    checkpoint = Path(files.checkpoint)
    rate = family_of(checkpoint).sample_rate(checkpoint)
    calibrated = np.array([u.samples for u in read_utterances(Path(files.calibration))]) / rate
    layers = read_table(Path(files.sensitivity))
    record = {
        "model": model,
        "note": params.note,
        "acceptable_loss": params.acceptable_loss,
        "method": "stablequant",
        **provenance_of(snakemake),
        "layers": layers.astype(object).where(layers.notna(), None).to_dict("records"),  # JSON knows no NaN
        "float_layers": scales["float_layers"],
        "activations": scales["activations"],
        "calibration": {"longest_seconds": calibrated.max(), "p90_seconds": np.quantile(calibrated, 0.9)},
    }
    engines = {Path(engine).parent.name: Path(engine) for engine in files.engines}
    heard = {}
    for backend, table in zip(engines, files.hypotheses, strict=True):
        rows = read_table(Path(table), ("utterance", "transcript", "hypothesis")).fillna("")
        heard[backend] = dict(zip(rows["utterance"], rows["hypothesis"], strict=True))
    utterances = read_utterances(Path(files.utterances))
    chosen = utterances[: params.samples]
    samples = []
    for u in chosen:
        audio = load_audio(u, rate)  # refuses audio that was changed since it was listed
        hypotheses = {name: found[u.utterance] for name, found in heard.items() if found}
        whole = u.start is None and u.channel is None  # then its file is copied
        samples.append(Sample(Path(u.path), u.transcript, hypotheses, None if whole else (audio, rate)))
    run = FinishedRun(Path("results") / model, params.note, params.acceptable_loss)
    card = model_card(model, run, len(utterances), checkpoint, len(samples))
    if samples:
        log.warning("%s", privacy_note(len(samples)))
    folder = Path(snakemake.output[0])
    write_bundle(folder, Path(files.graph), checkpoint, engines, record, card, samples)
    log.info("%s: %.1f MB", folder, sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6)
