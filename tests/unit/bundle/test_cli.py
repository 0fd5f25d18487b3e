"""The command line itself, without a bundle."""

import sys

import pytest
from typer.testing import CliRunner

from stablequant.bundle.cli import app


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("stablequant tr", {"transcribe"}),
        ("stablequant quantize --acc", {"--acceptable-loss"}),
        ("stablequant quantize a --search ", {"exhaustive", "screened"}),
    ],
)
def test_a_shell_completes_commands_options_and_choices(typed, offered):
    words = typed.split(" ")
    asking = {"COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1), "_STABLEQUANT_COMPLETE": "complete_bash"}
    done = CliRunner().invoke(app, [], prog_name="stablequant", env=asking)
    assert {*done.stdout.split()} == offered


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        (["quantize", "model", "--calibration", "a", "--evaluation", "b", "--out", "c"], "quantize", "search"),
        (["report", "out"], "quantize", "search"),
        (["serve", "bundle"], "bundle.serve", "service"),
    ],
)
def test_where_a_package_is_missing_what_installs_it_is_told(monkeypatch, command, module, extra):
    monkeypatch.setitem(sys.modules, f"stablequant.{module}", None)
    monkeypatch.delattr(f"stablequant.{module}", raising=False)
    told = str(CliRunner().invoke(app, command).exception)
    assert told.startswith(f"stablequant {'serve' if extra == 'service' else 'quantize'}: it needs the package ")
    assert told.endswith(f"; in the project's folder run: pip install '.[{extra}]'")
