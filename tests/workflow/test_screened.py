"""A search that recognises only what its screen leaves in doubt."""

import shutil
from pathlib import Path

import pytest
from projects import configure
from running import planned, snakemake

from stablequant.report.sections import sensitivity
from stablequant.storage.files import read_json, read_table

WORDS = ["wer", "degradation", "ci_low", "ci_high", "utterances"]
THRESHOLD = (
    80  # points; three layers of the tiny recogniser surely lose more, and its six words can tell some that do not
)
SCREENING = {"audio_seconds": 60, "in_a_row": 2}


@pytest.fixture
def screened(project) -> Path:
    """A finished run whose search is made anew, with a screen."""
    results = project / "results/tiny"
    for step in ("sensitivity", "percentiles"):  # what a finished search has found is kept otherwise
        shutil.rmtree(results / step)
        (results / f"{step}.tsv").unlink()
        (results / f"plots/{step}.svg").unlink()
    configure(project, search="screened", screening=SCREENING, threshold=THRESHOLD)
    snakemake(project, "results/tiny/percentiles.tsv", "results/tiny/plots/sensitivity.svg")
    return project


def test_fewer_layers_are_recognised_and_the_same_are_selected(screened, finished):
    results, whole = screened / "results/tiny", read_table(finished / "results/tiny/sensitivity.tsv").set_index("layer")
    table = read_table(results / "sensitivity.tsv").set_index("layer")
    assert list(table.index) == list(whole.index)
    only = table["measured"].eq("screened")
    assert 0 < only.sum() < len(table) - 2
    assert table.loc[only, WORDS[:4]].isna().all(axis=None)
    assert {file.stem for file in (results / "sensitivity").iterdir()} == set(table.index[~only])
    assert table.loc[~only, WORDS].equals(whole.loc[~only, WORDS]), "words are counted as ever"
    assert table["selected"].tolist() == (whole["degradation"] > THRESHOLD).tolist()
    ordered = table.sort_values("screen_divergence", ascending=False)
    last = ordered[ordered["measured"].eq("recognised")].tail(SCREENING["in_a_row"])
    assert not last["selected"].any() and last["sure"].all()
    assert ordered["measured"].tolist() == sorted(ordered["measured"]), "all that was recognised diverges more"
    rounds = sorted((results / "probe_plans").iterdir())
    assert [read_json(file)["complete"] for file in rounds] == [False] * (len(rounds) - 1) + [True]

    cutoffs, tried = (read_table(folder / "results/tiny/percentiles.tsv") for folder in (screened, finished))
    assert cutoffs["layer"].unique().tolist() == table.index[table["selected"]].tolist()
    assert cutoffs.groupby("layer")["best"].sum().eq(1).all() and cutoffs.loc[cutoffs["best"], "wer"].notna().all()
    both = cutoffs.merge(tried, on=["layer", "percentile"], suffixes=("", "_whole"))
    both = both[both["measured"].eq("recognised")]
    assert len(both) < len(tried) and both["wer"].equals(both["wer_whole"])
    assert "only screened" in sensitivity(results).text.lower()

    jobs = planned(screened)
    assert not {"screen_layers", "plan_probes", "probe_layer", "search_percentile"} & jobs.keys()
    configure(screened, threshold=90)
    jobs = planned(screened, "results/tiny/sensitivity.tsv")
    assert jobs["plan_probes"] and not {"screen_layers", "recognise_reference"} & jobs.keys()
    configure(screened, screening=SCREENING | {"audio_seconds": 30})
    jobs = planned(screened, "results/tiny/sensitivity.tsv")
    assert jobs["screen_layers"] == 1 and "recognise_reference" not in jobs
    configure(screened, racing={"enabled": True, "confidence": 0.95})
    jobs = planned(screened, "results/tiny/sensitivity.tsv")
    assert jobs["recognise_reference"] == 1, "a race takes the audio in its own order"
