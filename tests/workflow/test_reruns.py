"""Only the stages that an edit touches run again."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import TINY_CONFIG, snakemake, write_tiny_project


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The whole DAG run once on a tiny random recogniser."""
    folder = write_tiny_project(tmp_path_factory.mktemp("project"))
    snakemake(folder)
    return folder


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """Jobs by rule that a run would start."""
    printed = snakemake(folder, "--dry-run", *arguments)
    table = re.search(r"job +count\n-+ +-+\n(.*?)\n\n", printed, re.DOTALL)
    if table is None:
        assert "Nothing to be done" in printed, printed
        return {}
    rows = dict(line.split() for line in table[1].splitlines())
    return {rule: int(count) for rule, count in rows.items() if rule not in ("total", "all")}


@pytest.fixture
def project(finished, tmp_path) -> Path:
    """A copy of the finished run, with its times and Snakemake's records, to edit."""
    folder = tmp_path / "project"
    shutil.copytree(finished, folder)
    shutil.copytree(finished / ".snakemake", folder / ".snakemake", dirs_exist_ok=True)
    manifests = folder / "tsv"
    for split in ("calibration", "evaluation"):
        text = (manifests / f"{split}.tsv").read_text()
        assert str(finished) in text
    return folder


def configure(folder: Path, **changes) -> None:
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(settings | changes))


def selected(folder: Path) -> list[str]:
    rows = [line.split("\t") for line in (folder / "results/tiny/sensitivity.tsv").read_text().splitlines()]
    place = rows[0].index("selected")
    return [row[0] for row in rows[1:] if row[place] == "True"]


def test_the_run_is_complete(finished):
    results = finished / "results/tiny"
    rows = (results / "comparison.tsv").read_text().splitlines()
    assert [row.split("\t")[:2] for row in rows[1:]] == [["openvino", m] for m in TINY_CONFIG["methods"]]
    assert len(list((results / "sensitivity").iterdir())) == 12
    assert sorted(f.stem for f in (results / "percentiles").iterdir()) == sorted(selected(finished))
    assert selected(finished), "nothing selected: the tests below would prove nothing"
    assert len(list((results / "plots").glob("*.svg"))) == 3


def test_nothing_changed_nothing_runs(project):
    assert planned(project) == {}


def test_editing_the_scales_spares_the_probes(project):
    file = project / "stablequant/scales.py"
    file.write_text(file.read_text() + "\n# edited\n")
    jobs = planned(project)
    assert jobs["optimise_scales"] == 2
    assert {"insert_qdq", "build_engine", "evaluate_engine", "compare"} <= jobs.keys()
    assert not jobs.keys() & {"probe_layer", "search_percentile", "select_layers", "collect_histograms", "export_onnx"}


def test_another_percentile_reruns_the_searches_and_what_follows(project):
    configure(project, percentiles=[99.9, 99.0, 98.0])
    jobs = planned(project)
    assert jobs["search_percentile"] == len(selected(project))
    assert {"optimise_scales", "compare"} <= jobs.keys()
    assert not jobs.keys() & {"probe_layer", "select_layers", "collect_histograms", "export_onnx"}


def test_a_higher_threshold_reruns_the_selection_alone(project):
    before = selected(project)
    configure(project, threshold=1000)
    jobs = planned(project)
    assert jobs["select_layers"] == 1
    assert not jobs.keys() & {"probe_layer", "search_percentile", "collect_histograms"}
    printed = snakemake(project)
    assert "rule search_percentile" not in printed
    assert selected(project) == []
    assert sorted(f.stem for f in (project / "results/tiny/percentiles").iterdir()) == sorted(before), "lost"
    configure(project, threshold=0)
    printed = snakemake(project)
    assert "rule search_percentile" not in printed, "a finished search was made again"
    assert selected(project) == before


def test_another_audio_file_reruns_from_the_list_of_utterances(project):
    configure(project, max_rejected=0.5)
    jobs = planned(project)
    assert jobs["list_utterances"] == 2


def test_a_changed_checkpoint_reruns_everything(project):
    file = project / "model/config.json"
    file.write_text(file.read_text() + "\n")
    jobs = planned(project)
    assert jobs["import_checkpoint"] == 1
    assert jobs["probe_layer"] == 12
