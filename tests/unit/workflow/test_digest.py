"""The code digest follows what a script really imports, so that an edit reruns exactly the stages that use it."""

import re
import shutil
from collections.abc import Iterable
from functools import cache
from modulefinder import ModuleFinder
from pathlib import Path

import pytest
from checkout import PROJECT

from stablequant.engines.backend import BACKENDS
from stablequant.workflow.digest import all_modules, code_digest, imports_of, placeholders

SCRIPTS = sorted(p.stem for p in (PROJECT / "scripts").glob("*.py"))
CHOSEN = {"family": "wav2vec2", "backend": "openvino"}
PLOTS = {p for p in SCRIPTS if p.startswith("plot_")}
RESUME = {"probe_layer", "search_percentile"}
SEARCH = {"recognise_reference", "check_combination", "screen_layers", *RESUME}
CHOICES = {"choose_massive_channels", "choose_attention"}
RUN_TORCH = SEARCH | CHOICES | {"equalise_channels", "measure_speed", "round_weights"}


def files_of(root: Path) -> dict[str, Path]:
    """All modules of the package below ``root`` by their path in it."""
    package = root / "stablequant"
    return {str(file.relative_to(package)): file for file in sorted(package.rglob("*.py"))}


@cache
def found_by_python(script: Path) -> frozenset[str]:
    """Modules of the package that Python's own finder reaches from a script, by their path in the package.

    It reads compiled code, not text. What a module imports by name is added as this module's PLUGIN says.
    """
    found: set[str] = set()
    waiting = [script]
    while waiting:
        finder, start = ModuleFinder(path=[str(PROJECT)]), waiting.pop()
        finder.run_script(str(start))
        files = [Path(m.__file__) for n, m in finder.modules.items() if n.split(".")[0] == "stablequant" and m.__file__]
        files += [start] if start != script else []  # a plugin, which the finder calls __main__
        new = [file for file in files if str(file.relative_to(PROJECT / "stablequant")) not in found]
        found |= {str(file.relative_to(PROJECT / "stablequant")) for file in files}
        for file in new:
            for plugin in re.findall(r'^PLUGIN = "(.*)"$', file.read_text(), re.M):
                name = plugin.format(**CHOSEN)
                waiting.append(PROJECT.joinpath(*name.split(".")).with_suffix(".py"))
    return frozenset(found)


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("copied")
    for name in ("stablequant", "scripts"):
        shutil.copytree(PROJECT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def digests(root: Path, chosen: dict[str, str] = CHOSEN) -> dict[str, str]:
    return {s: code_digest(root / "scripts" / f"{s}.py", root, chosen) for s in SCRIPTS}


@cache
def followed(script: Path) -> frozenset[str]:
    """Modules of the package that the digest covers."""
    package = PROJECT / "stablequant"
    files = all_modules(script, PROJECT, CHOSEN) - {script}
    return frozenset(str(file.relative_to(package)) for file in files)


@pytest.mark.parametrize("edited", sorted(files_of(PROJECT)))
def test_an_edit_reruns_exactly_the_scripts_that_import_it(edited):
    scripts = [PROJECT / "scripts" / f"{s}.py" for s in SCRIPTS]
    assert {s for s in scripts if edited in followed(s)} == {s for s in scripts if edited in found_by_python(s)}


def test_a_digest_changes_with_every_file_it_covers_and_with_no_other(tmp_path):
    files = {
        "script.py": "import stablequant.one\n",
        "stablequant/one.py": "from stablequant import two\n",
        "stablequant/two.py": "",
        "stablequant/three.py": "",
    }
    write(tmp_path, files)
    before = code_digest(tmp_path / "script.py", tmp_path, {})
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n# edited\n")
        assert (code_digest(tmp_path / "script.py", tmp_path, {}) == before) == (name == "stablequant/three.py"), name
        (tmp_path / name).write_text(text)
    (tmp_path / "stablequant/two.py").rename(tmp_path / "stablequant/moved.py")
    (tmp_path / "stablequant/one.py").write_text("from stablequant import moved\n")
    assert code_digest(tmp_path / "script.py", tmp_path, {}) != before


@pytest.mark.parametrize(
    ("edited", "touched"),
    [  # told by hand, so that a fault of both finders would be seen
        ("search/optimise_scales.py", {"optimise_scales"}),
        ("search/search_percentile.py", {"search_percentile"}),
        ("search/screen_percentiles.py", {"search_percentile"}),
        ("search/screen_layers.py", {"screen_layers"}),
        ("search/plan_probes.py", {"plan_probes"}),
        ("search/gather_percentiles.py", {"gather_percentiles", "check_combination", "write_report", "write_bundle"}),
        ("search/check_combination.py", {"check_combination"}),
        ("search/probe_layer.py", {"probe_layer"}),
        ("search/racing.py", {*RESUME, "check_combination", "screen_layers"}),
        (
            "search/select_layers.py",
            {"select_layers", "plan_probes", "check_combination"}
            | {"plot_histograms", "plot_sensitivity", "write_report"},
        ),
        ("search/racing_order.py", RUN_TORCH),
        ("search/module_inputs.py", {"equalise_channels", "choose_massive_channels", "round_weights"}),
        ("quantization/gptq.py", {"round_weights"}),
        ("quantization/least_error.py", {"optimise_scales", "check_combination", *CHOICES}),
        ("engines/insert_qdq.py", {"insert_qdq"}),
        ("engines/openvino.py", {"build_engine", "evaluate_engine", "time_engines"}),
        ("engines/onnxruntime.py", set()),
        ("report/figures.py", PLOTS),
        ("report/plot_peers.py", {"plot_peers"}),
        ("recognisers/wav2vec2/forward.py", RUN_TORCH | {"export_onnx"}),
        ("recognisers/wav2vec2/fairseq.py", {"import_checkpoint"}),
        ("recognisers/wav2vec2/export_onnx.py", {"export_onnx"}),
        ("__init__.py", set(SCRIPTS)),
    ],
)
def test_an_edit_reruns_what_one_would_expect(edited, touched):
    file = PROJECT / "stablequant" / edited
    users = {s for s in SCRIPTS if file in all_modules(PROJECT / "scripts" / f"{s}.py", PROJECT, CHOSEN)}
    assert users == touched


def test_of_families_and_backends_only_the_chosen_count(copied):
    shutil.copytree(PROJECT / "tests/families/tiny_seq2seq", copied / "stablequant/recognisers/tiny_seq2seq")
    own, other = digests(copied), digests(copied, CHOSEN | {"family": "tiny_seq2seq"})
    asked = {s for s in SCRIPTS if "family" in placeholders(copied / "scripts" / f"{s}.py", copied)}
    assert {s for s in SCRIPTS if own[s] != other[s]} == asked
    assert {"import_checkpoint", "evaluate_engine", *RUN_TORCH} <= asked
    assert not asked & {"optimise_scales", "compare", *PLOTS}
    for file in (copied / "stablequant/recognisers/tiny_seq2seq").glob("*.py"):
        file.write_text(file.read_text() + "\n# edited\n")
    assert digests(copied) == own
    backends = {name: digests(copied, CHOSEN | {"backend": known.module}) for name, known in BACKENDS.items()}
    tell = {s for s in SCRIPTS if len({found[s] for found in backends.values()}) == len(BACKENDS)}
    assert tell == {"build_engine", "evaluate_engine", "time_engines"}
    shutil.rmtree(copied / "stablequant/recognisers/tiny_seq2seq")


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def names(root: Path, files: Iterable[Path]) -> set[str]:
    return {str(file.relative_to(root)) for file in files}


def test_relative_imports_and_packages_are_followed(tmp_path):
    package = "stablequant/a"
    files = {
        "script.py": "def run():\n    from stablequant.a.one import thing\n",
        "stablequant/__init__.py": "",
        f"{package}/__init__.py": "from . import eager\n",
        f"{package}/eager.py": "",
        f"{package}/one.py": "from .two import x\nfrom ..b import three\nfrom . import four as five\n",
        f"{package}/two.py": "x = 1\n",
        f"{package}/four.py": "",
        "stablequant/b/__init__.py": "",
        "stablequant/b/three.py": "import stablequant.b.six\n",
        "stablequant/b/six.py": "",
        "stablequant/b/unused.py": "",
    }
    write(tmp_path, files)
    found = names(tmp_path, all_modules(tmp_path / "script.py", tmp_path))
    assert found == {*files} - {"stablequant/b/unused.py"}


def test_imports_in_any_block_are_followed(tmp_path):
    blocks = [
        "if x:\n    import stablequant.m0\nelif y:\n    import stablequant.m1\nelse:\n    import stablequant.m2\n",
        "try:\n    import stablequant.m3\nexcept ImportError:\n    import stablequant.m4\n",
        "try:\n    pass\nfinally:\n    import stablequant.m5\n",
        "class A:\n    async def b(self):\n        with c:\n            import stablequant.m6\n",
        "match x:\n    case 1:\n        import stablequant.m7\n",
        "while x:\n    for y in z:\n        from stablequant import m8 as f\n",
    ]
    modules = {f"stablequant/m{number}.py": "" for number in range(9)}
    write(tmp_path, {"script.py": "".join(blocks)} | modules)
    assert names(tmp_path, all_modules(tmp_path / "script.py", tmp_path)) == {"script.py", *modules}


def test_plugins_are_followed_by_their_name_and_must_be_there(tmp_path):
    write(
        tmp_path,
        {
            "script.py": "import stablequant.gate\n",
            "stablequant/gate.py": 'PLUGIN = "stablequant.{kind}.part"\n',
            "stablequant/red/part.py": "import stablequant.shade\n",
            "stablequant/shade.py": "",
            "stablequant/blue/part.py": "",
        },
    )
    script = tmp_path / "script.py"
    assert imports_of(tmp_path / "stablequant/gate.py").plugins == {"stablequant.{kind}.part"}
    assert placeholders(script, tmp_path) == {"kind"}
    red = all_modules(script, tmp_path, {"kind": "red"})
    assert names(tmp_path, red) == {
        "script.py",
        "stablequant/gate.py",
        "stablequant/red/part.py",
        "stablequant/shade.py",
    }
    assert code_digest(script, tmp_path, {"kind": "red"}) != code_digest(script, tmp_path, {"kind": "blue"})
    with pytest.raises(KeyError):
        code_digest(script, tmp_path, {})
    with pytest.raises(LookupError, match="green"):
        code_digest(script, tmp_path, {"kind": "green"})


def test_every_rule_carries_the_digest_of_its_own_script():
    for file in (PROJECT / "rules").glob("*.smk"):
        text = file.read_text()
        scripts = [
            line.split("/")[-1].strip(' "').removesuffix(".py") for line in text.splitlines() if "scripts/" in line
        ]
        assert scripts, file
        for script in scripts:
            assert f'code_digest("{script}")' in text, script
