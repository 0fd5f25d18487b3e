"""The command line itself, without a bundle."""

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
