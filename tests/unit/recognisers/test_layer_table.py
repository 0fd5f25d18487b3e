"""The table of the quantized modules, ``layers.tsv``."""

import pandas as pd
import pytest
import torch

from stablequant.recognisers.describe_layers import layer_table
from stablequant.recognisers.layer_table import read_modules
from stablequant.recognisers.modules import QuantizedModule
from stablequant.storage.files import write_table
from stablequant.workflow.fan_out import layers_with_outputs

ROW = {"layer": "encoder01", "kind": "encoder", "module": "a.q_proj", "activation": "encoder01.qkv"}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("outputs", [["encoder01.queries", ""], ["", ""], None])
def test_outputs_are_read_where_there_are_some(tmp_path, outputs):
    """Earlier versions had no such column."""
    table = pd.DataFrame([ROW, ROW | {"module": "a.v_proj"}])
    if outputs is not None:
        table["output_activation"] = outputs
    write_table(tmp_path / "layers.tsv", table)
    first, second = outputs or ["", ""]
    expected = [QuantizedModule(**ROW, output_activation=first), QuantizedModule(**ROW | {"module": "a.v_proj"})]
    assert read_modules(tmp_path / "layers.tsv") == expected
    assert layers_with_outputs(tmp_path / "layers.tsv") == (["encoder01"] if first else [])
    assert first == "" or expected[0].tensors({first}) == ("encoder01.qkv", first)
    assert second == "" and expected[1].tensors({"encoder01.queries"}) == ("encoder01.qkv",)


@pytest.mark.parametrize("layer", ["encoder", "encoder01", "Encoder01", "encoder-01", "encoder01b", "../a", ""])
def test_layers_have_names_that_rules_take_for_one(layer):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3))
    modules = [QuantizedModule(layer, "encoder", "0", layer)]
    if layer in ("encoder", "encoder01"):
        assert layer_table(model, modules)["layer"].tolist() == [layer]
    else:
        with pytest.raises(ValueError, match="a layer may not be called"):
            layer_table(model, modules)
