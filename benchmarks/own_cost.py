"""What StableQuant's own search took, as benchmarks compare it with other tools."""

from pathlib import Path

from stablequant.corpora.utterance import read_utterances
from stablequant.storage.files import read_table
from stablequant.workflow.stages import SEARCHING
from stablequant.workflow.timeline import read_jobs

METHOD = "stablequant"
ONCE = 3  # passes for channels, weights and the reference


def own_cost(results: Path, threads: int) -> dict[str, float]:
    """``seconds`` and ``passes`` of the search whose ``results`` these are; its logs lie beside them, in ``logs``.

    ``seconds`` are the sum over jobs of seconds times threads, divided by ``threads``. ``passes`` are recognitions of
    the calibration set, a part of it as its share of the utterances.
    """
    jobs = read_jobs(results.parent.parent / "logs" / results.name)
    placed = jobs["rule"].isin(["optimise_scales", "insert_qdq"]) & (jobs["job"] == METHOD)
    work = jobs.loc[jobs["rule"].isin(SEARCHING) | placed, "work"].sum()
    probes, searches, steps = (
        read_table(results / f"{table}.tsv") for table in ("sensitivity", "percentiles", "combination")
    )
    searches = searches[searches["percentile"] < 100]  # 100 % is the probe's
    heard = sum(table["utterances"].sum() for table in (probes, searches, steps))
    return {
        "seconds": work / threads,
        "passes": ONCE + heard / len(read_utterances(results / "utterances/calibration.tsv")),
    }
