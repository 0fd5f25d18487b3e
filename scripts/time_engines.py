"""Time the engines of one backend, which take turns, or say why they cannot run here."""

from pathlib import Path

from stablequant.corpora.utterance import read_utterances
from stablequant.engines.running import load_engine, reason_not_run
from stablequant.engines.time_engines import REFERENCE, TWIN, not_timed, spread_over_lengths, time_engines
from stablequant.errors import StableQuantError
from stablequant.recognisers.batches import loaded
from stablequant.recognisers.decoder import NotFiniteError
from stablequant.recognisers.registry import family_of
from stablequant.storage.files import write_table
from stablequant.workflow.jobs import job

with job(snakemake.log[0], snakemake.threads) as log:
    folders = {Path(folder).name: Path(folder) for folder in snakemake.input.engines}
    backend = snakemake.wildcards.backend
    reason = next(filter(None, map(reason_not_run, folders.values())), None)
    if reason:
        table = not_timed(backend, list(folders), f"not timed: {reason}")
    else:
        if REFERENCE in folders:
            folders[TWIN] = folders[REFERENCE]
        one = next(iter(folders.values()))
        family = family_of(one)
        decoders = {
            method: family.decoder(folder, load_engine(folder, snakemake.threads).networks)
            for method, folder in folders.items()
        }
        rate, shortest = family.sample_rate(one), family.front_end(one).shortest_samples
        utterances = read_utterances(Path(snakemake.input.utterances))
        chosen = spread_over_lengths(utterances, snakemake.params.audio_seconds, rate)
        recordings = [audio[0] for _, audio in loaded([[u] for u in chosen], rate, "loading")]
        rounds, seed = snakemake.params.rounds, snakemake.params.seed
        try:
            table = time_engines(backend, decoders, recordings, rate, shortest, rounds, seed)
        except NotFiniteError as error:
            raise StableQuantError(
                one.parent, "the output of an engine contains NaN or infinity", "take an intact checkpoint"
            ) from error
    write_table(Path(snakemake.output[0]), table)
    log.info("%s\n%s", snakemake.output[0], table.to_string(index=False))
