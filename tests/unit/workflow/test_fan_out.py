"""Jobs of the search by layer."""

import numpy as np
import pandas as pd
import pytest
from checkout import DEMO

from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.wav2vec2.layers import layer_names
from stablequant.storage.files import write_table
from stablequant.workflow.fan_out import jobs_of_layers, layers_of, selected_layers

LAYERS = layer_names(7, 24)


def test_each_layer_is_a_job_of_its_own_name():
    assert jobs_of_layers(LAYERS, 1) == {layer: [layer] for layer in LAYERS}


def test_groups_are_named_by_their_first_and_last_layer():
    assert jobs_of_layers(["cnn01", "cnn02", "projection", "positional", "head"], 2) == {
        "cnn01-cnn02": ["cnn01", "cnn02"],
        "projection-positional": ["projection", "positional"],
        "head": ["head"],
    }


@pytest.mark.parametrize("size", [1, 2, 3, 5, 33, 34, 1000])
def test_every_layer_is_in_one_job_and_their_order_stays(size):
    jobs = jobs_of_layers(LAYERS, size)
    assert [layer for group in jobs.values() for layer in group] == LAYERS
    assert all(len(group) == size for group in list(jobs.values())[:-1])
    assert 0 < len(list(jobs.values())[-1]) <= size
    for name, group in jobs.items():
        assert name == (group[0] if len(group) == 1 else f"{group[0]}-{group[-1]}")


def test_no_layers_are_no_jobs():
    assert jobs_of_layers([], 3) == {}


def test_layers_are_those_of_the_imported_checkpoint_each_once(tmp_path):
    table = import_checkpoint(str(DEMO), tmp_path / "checkpoint")
    write_table(tmp_path / "layers.tsv", table)
    found = layers_of(tmp_path / "layers.tsv")
    assert found == table["layer"].unique().tolist()
    assert len(found) == len(set(found)) < len(table), "a layer of several modules is listed once"
    assert found[0] == "cnn01"
    assert found[-1] == "head"


def test_layers_keep_the_tables_order(tmp_path):
    rows = [("b", "x"), ("a", "y"), ("b", "z"), ("c", "1")]
    write_table(tmp_path / "layers.tsv", pd.DataFrame(rows, columns=["layer", "module"]))
    assert layers_of(tmp_path / "layers.tsv") == ["b", "a", "c"]


def test_a_missing_table_is_not_there_yet(tmp_path):
    """What Snakemake takes for an input that is still to be made."""
    with pytest.raises(FileNotFoundError):
        layers_of(tmp_path / "layers.tsv")
    with pytest.raises(FileNotFoundError):
        selected_layers(tmp_path / "sensitivity.tsv")


def test_selected_layers_are_those_that_the_selection_marked(tmp_path):
    """In the order of the table, which `write_table` wrote from bools."""
    table = pd.DataFrame({"layer": ["cnn02", "cnn01", "head"], "selected": [True, False, np.True_]})
    write_table(tmp_path / "sensitivity.tsv", table)
    assert selected_layers(tmp_path / "sensitivity.tsv") == ["cnn02", "head"]
    write_table(tmp_path / "sensitivity.tsv", table.assign(selected=False))
    assert selected_layers(tmp_path / "sensitivity.tsv") == []
