"""Whoever only looks at the workflow changes nothing, and loads nothing heavy."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from checkout import DEMO, PROJECT
from listing import write_speech
from running import snakemake

from stablequant.workflow.fan_out import layers_of

LOOKS = [
    ["--dry-run"],
    ["-n", "--quiet", "all"],
    ["--rulegraph"],
    ["--dag"],
    ["--filegraph"],
    ["--summary"],
    ["--detailed-summary"],
    ["--lint"],
    ["--list-rules"],
    ["--list-changes", "code"],
    ["--list-changes", "params"],
    ["--report", "../report.html"],
]
HEAVY = ("torch", "transformers", "onnx", "onnx_ir", "openvino", "matplotlib")


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file and folder but what Snakemake and Python keep for themselves."""
    own = {".snakemake", "__pycache__"}
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if not own & set(path.relative_to(folder).parts)
    }


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look[0])
def test_looking_changes_no_file_and_no_time(project, look):
    """Although results are dated ahead, as after a clock was set back, which a run would mend."""
    for path in (project / "results").rglob("*"):
        os.utime(path, ns=(path.stat().st_mtime_ns + 7200 * 10**9,) * 2)
    before = state(project)
    snakemake(project, *look)
    assert state(project) == before


PARSE = """
import sys
sys.argv = ["snakemake", "--dry-run", "--cores", "1", "--quiet", "all"]
from snakemake.cli import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print("LOADED", *(name for name in {heavy!r} if name in sys.modules))
"""


def test_nothing_heavy_is_loaded_while_the_workflow_is_planned(project):
    done = subprocess.run(
        [sys.executable, "-c", PARSE.format(heavy=HEAVY)], cwd=project, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1].strip() == "LOADED", done.stdout


JOB = """
import sys
looks = []
events = ("open", "os.scandir", "os.listdir")
sys.addaudithook(lambda event, args: looks.append(str(args[0])) if event in events else None)
sys.argv = ["snakemake", "--dry-run", "--cores", "1", "--quiet", "all", "--force", "--nolock", *sys.argv[1:]]
from snakemake.cli import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
corpus = (".tsv", ".wrd", ".flac", ".trans.txt")
print("LOOKS", *(look for look in looks if look.endswith(corpus) or "/speech/" in look))
"""


def looks(folder: Path, *arguments: str) -> list[str]:
    """Tables, transcripts, audio and folders of audio that a process of Snakemake opened or listed while it planned."""
    done = subprocess.run(
        [sys.executable, "-c", JOB, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [look for look in done.stdout.splitlines()[-1].split()[1:] if Path(look).name != "layers.tsv"]


@pytest.mark.parametrize("mode", ["remote", "subprocess"])
@pytest.mark.parametrize(
    ("rule", "wildcards"),
    [("list_utterances", "model=tiny,split=evaluation"), ("probe_layer", "model=tiny,layers=cnn01")],
)
def test_the_process_of_a_job_looks_at_no_manifest_and_at_no_audio(project, mode, rule, wildcards):
    """As Slurm starts it; so it parses as fast whatever the corpus holds."""
    assert looks(project, "--mode", mode, "--allowed-rules", rule, "--target-jobs", f"{rule}:{wildcards}") == []


def test_the_main_process_reads_each_manifest_once_and_lists_each_folder_once(project):
    seen = looks(project, "--rerun-triggers", "params", "mtime")
    assert sorted(look for look in seen if look.endswith(".tsv") and "results" not in look) == [
        "tsv/calibration.tsv",
        "tsv/evaluation.tsv",
    ]
    folders = [look for look in seen if Path(look).is_dir()]
    assert folders and len(folders) == len({*folders})


ENGINE = """
import sys
from pathlib import Path
from stablequant.engines.running import load_engine
from stablequant.recognisers.registry import family_of
import stablequant.bundle.transcribe
folder = Path(sys.argv[1])
family_of(folder).decoder(folder, load_engine(folder, 1).networks)
print("LOADED", *(name for name in ("torch", "transformers") if name in sys.modules))
"""


def test_an_engines_process_loads_no_torch(finished):
    folder = finished / "results/tiny/engines/openvino/stablequant"
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", ENGINE, str(folder)], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "LOADED"


IMPORTS = """
import ast, sys
from pathlib import Path
for script in sys.argv[1:]:
    tree = ast.parse(Path(script).read_text())
    tree.body = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    exec(compile(tree, script, "exec"))
import stablequant.engines.openvino
print("LOADED", *(name for name in ("torch", "transformers") if name in sys.modules))
"""


def test_the_scripts_of_graphs_engines_and_tables_load_no_torch():
    names = ("insert_qdq", "build_engine", "evaluate_engine", "optimise_scales", "compare", "list_utterances")
    scripts = [str(PROJECT / f"scripts/{name}.py") for name in names]
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, *scripts],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "LOADED"


def write_mine(folder: Path, name: str = "mine", **changes: str) -> None:
    """A config of one model whose files lie in ``folder`` beside it, by relative paths."""
    for split in ("calibration", "evaluation"):
        write_speech(folder / split, folder / f"{split}.tsv", 2, split)
        lines = (folder / f"{split}.tsv").read_text().splitlines()
        (folder / f"{split}.tsv").write_text("\n".join([split, *lines[1:]]) + "\n")
    settings = {"checkpoint": str(DEMO), "calibration": "calibration.tsv", "evaluation": "evaluation.tsv"} | changes
    (folder / "mine.yaml").write_text(yaml.safe_dump({"models": {name: settings}}))


@pytest.mark.parametrize("way", ["directory", "snakefile"])
def test_in_another_folder_the_defaults_are_those_beside_the_snakefile_and_ones_own_paths_are_relative_to_it(
    tmp_path, way
):
    write_mine(tmp_path)
    where = {
        "directory": (PROJECT, ["--directory", str(tmp_path)]),
        "snakefile": (tmp_path, ["--snakefile", str(PROJECT / "Snakefile")]),
    }
    folder, options = where[way]
    manifests = [f"results/{model}/utterances/evaluation.tsv" for model in ("demo", "mine")]
    configs = ["--configfile", str(tmp_path / "mine.yaml")]
    printed = snakemake(folder, *options, *configs, "-n", *manifests, "results/demo/plots/peers.svg")
    inputs = " ".join(re.findall(r"input: (.*)", printed)).replace(",", "").split()
    assert {str(DEMO / "config.json"), str(PROJECT / "tsv/demo-evaluation.tsv"), "evaluation.tsv"} <= {*inputs}
    assert str(PROJECT / "benchmarks/peers.tsv") in inputs
    assert not (tmp_path / "results").exists()


def test_a_config_in_the_folder_where_one_works_is_laid_over_the_defaults(tmp_path):
    write_mine(tmp_path)
    (tmp_path / "mine.yaml").rename(tmp_path / "config.yaml")
    where = ["--snakefile", str(PROJECT / "Snakefile"), "-n", "results/mine/manifests/evaluation.tsv"]
    assert "write_manifest" in snakemake(tmp_path, *where, "--config", "models={mine: {evaluation: evaluation}}")


def import_with(folder: Path, config: str, *lines: str) -> None:
    """A workflow in ``folder`` that imports this one."""
    used = f"    snakefile: {str(PROJECT / 'Snakefile')!r}\n" + "".join(f"    {line}\n" for line in (config, *lines))
    (folder / "Snakefile").write_text(
        f'configfile: "mine.yaml"\n\nmodule stablequant:\n{used}\nuse rule * from stablequant as sq_*\n'
    )


def test_another_workflow_imports_this_one(tmp_path):
    """And runs it: to the layers' jobs, which are known once the checkpoint was imported.

    Braces in the names of folders do no harm where Snakemake reads no file: where one works, and where the audio is.
    """
    folder, audio = tmp_path / "my {work}", tmp_path / "audio {of} mine"
    folder.mkdir()
    audio.mkdir()
    write_mine(folder, audio_root=str(audio))
    for split in ("calibration", "evaluation"):
        shutil.move(folder / split, audio)
        manifest = folder / f"{split}.tsv"
        manifest.write_text(manifest.read_text().replace("\n101/", f"\n{split}/101/"))
    import_with(folder, "config: config")
    snakemake(folder, "results/mine/utterances/evaluation.tsv")
    rows = (folder / "results/mine/utterances/evaluation.tsv").read_text().splitlines()[1:]
    assert [row.split("\t")[1].startswith(f"{audio}/") for row in rows] == [True, True]
    printed = snakemake(folder, "-n", "results/mine/sensitivity.tsv")
    assert printed.count("rule sq_probe_layer:") == len(layers_of(folder / "results/mine/layers.tsv"))
    assert "demo" not in {path.name for path in (folder / "results").iterdir()}


def test_a_prefix_of_an_imported_workflow_is_refused(tmp_path):
    write_mine(tmp_path)
    import_with(tmp_path, "config: config", 'prefix: "asr"')
    assert "results cannot get a prefix; leave out 'prefix'" in snakemake(tmp_path, "-n", expect=1)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("mine:", "no:", 'mine.yaml, line 2: YAML does not read the model\'s name no as text; put it in quotes: "no":'),
        ("evaluation.tsv", "calibration", "2 of its 2 audio files are in the calibration data too, such as '"),
        ("evaluation.tsv", "e{b}val.tsv", "would read the braces in 'e{b}val.tsv' as a wildcard; rename it"),
        ("evaluation.tsv", "f{o}lder", "would read the braces in 'f{o}lder' as a wildcard; rename it"),
        (str(DEMO), "f{o}lder/m", "would read the braces in 'f{o}lder/m/config.json' as a wildcard; rename it"),
    ],
)
def test_a_wrong_config_is_told_while_the_run_is_planned(tmp_path, old, new, told):
    write_mine(tmp_path)
    shutil.copyfile(tmp_path / "evaluation.tsv", tmp_path / "e{b}val.tsv")
    shutil.copytree(DEMO, tmp_path / "f{o}lder/m")
    text = (tmp_path / "mine.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text.replace(old, new))
    arguments = ["--snakefile", str(PROJECT / "Snakefile"), "--configfile", "mine.yaml", "-n"]
    assert told in snakemake(tmp_path, *arguments, expect=1)


@pytest.mark.parametrize("name", ["no", "960", "1e3"])
def test_names_in_quotes_that_yaml_would_take_for_something_else_are_taken(tmp_path, name):
    write_mine(tmp_path, name)
    arguments = ["--snakefile", str(PROJECT / "Snakefile"), "--configfile", "mine.yaml", "-n"]
    assert f"wildcards: model={name}\n" in snakemake(tmp_path, *arguments, f"results/{name}/layers.tsv")
