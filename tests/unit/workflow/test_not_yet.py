"""Parameters that are asked for before their files are made."""

import inspect
import json

import pytest

from stablequant.errors import StableQuantError
from stablequant.workflow.not_yet import not_yet


@not_yet
def length(wildcards, input):
    return json.loads(input[0].read_text())[wildcards]


def test_a_parameter_is_read_by_the_names_that_snakemake_gives(tmp_path):
    assert list(inspect.signature(length).parameters) == ["wildcards", "input"]
    (tmp_path / "table.json").write_text('{"a": 3}')
    assert length("a", [tmp_path / "table.json"]) == 3


@pytest.mark.parametrize("content", [None, "not JSON", '{"b": 3}'])
def test_what_cannot_be_read_names_the_input(tmp_path, content):
    table = tmp_path / "table.json"
    if content is not None:
        table.write_text(content)
    with pytest.raises(FileNotFoundError) as caught:
        length("a", [table])
    assert caught.value.filename == table


def test_a_refusal_names_the_input_and_keeps_what_it_says():
    @not_yet
    def refused(wildcards, input):
        raise StableQuantError("config.json", "no family claims it", "take another")

    with pytest.raises(FileNotFoundError, match=r"config\.json: no family claims it") as caught:
        refused(None, ["results/x"])
    assert caught.value.filename == "results/x"


def test_a_fault_of_the_program_stays_what_it_is():
    @not_yet
    def faulty(wildcards, input):
        return input.length

    with pytest.raises(AttributeError):
        faulty(None, ["results/x"])
