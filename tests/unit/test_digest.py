"""The code digest follows imports, so that an edit touches just the stages that use it."""

import pytest
from conftest import PROJECT, copy_project

from stablequant.workflow.digest import code_digest

PLOTS = ("sensitivity", "percentiles", "histograms", "comparison", "tradeoff", "peers", "timeline")
MEASURED = {"equalise_channels", "round_weights"}
SCRIPTS = sorted(p.stem for p in (PROJECT / "scripts").glob("*.py"))


@pytest.mark.parametrize(
    ("edited", "touched"),
    [
        ("scales.py", {"optimise_scales"}),
        ("percentiles.py", {"search_percentile"}),
        ("percentile_table.py", {"gather_percentiles", "check_combination"}),
        ("combination.py", {"check_combination"}),
        ("sensitivity.py", {"probe_layer"}),
        ("racing.py", {"probe_layer", "search_percentile", "check_combination"}),
        ("selection.py", {"select_layers", "plot_histograms"}),
        ("mse.py", {"optimise_scales", "check_combination"}),
        (
            "collection.py",
            {"recognise_reference", "probe_layer", "search_percentile", "check_combination"} | MEASURED,
        ),
        ("rounds.py", {"recognise_reference", "probe_layer", "search_percentile", "check_combination"} | MEASURED),
        ("qdq.py", {"insert_qdq"}),
        ("inputs.py", MEASURED),
        ("channels.py", {"equalise_channels"}),
        ("weights.py", {"round_weights"}),
        ("engines/openvino.py", {"build_engine", "evaluate_engine"}),
        ("precision.py", {"build_engine", "compare_precisions", "evaluate_engine"}),
        ("plots.py", {f"plot_{plot}" for plot in PLOTS}),
    ],
)
def test_an_edit_changes_the_digests_of_its_users_only(tmp_path, edited, touched):
    project = copy_project(tmp_path)
    before = {s: code_digest(project / "scripts" / f"{s}.py", project) for s in SCRIPTS}
    file = project / "stablequant" / edited
    file.write_text(file.read_text() + "\n# edited\n")
    after = {s: code_digest(project / "scripts" / f"{s}.py", project) for s in SCRIPTS}
    assert {s for s in SCRIPTS if before[s] != after[s]} == touched


def test_every_rule_carries_the_digest_of_its_own_script():
    for file in (PROJECT / "rules").glob("*.smk"):
        text = file.read_text()
        scripts = [
            line.split("/")[-1].strip(' "').removesuffix(".py") for line in text.splitlines() if "scripts/" in line
        ]
        if file.name == "common.smk":
            continue
        assert scripts, file
        for script in scripts:
            assert f'code_digest("{script}")' in text, script
