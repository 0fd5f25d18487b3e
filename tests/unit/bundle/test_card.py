"""The model card, as the hub reads it."""

import pandas as pd
import yaml
from conftest import DEMO
from huggingface_hub import ModelCard

from stablequant.bundle.card import model_card
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.report.show import SHOWN
from stablequant.storage.files import write_table


def test_the_hub_reads_task_and_word_error_rate(tmp_path):
    import_checkpoint(str(DEMO), tmp_path / "checkpoint")
    rows = [("openvino", "fp32", 3.38), ("tensorrt-rtx", "stablequant", None), ("openvino", "stablequant", 3.4249)]
    known = dict.fromkeys(SHOWN) | {"arithmetic": "int8", "status": "evaluated"}
    table = pd.DataFrame([known | {"backend": b, "method": m, "wer": wer} for b, m, wer in rows])
    write_table(tmp_path / "comparison.tsv", table)
    scales = {"float_layers": [], "activations": {}}
    checkpoint = tmp_path / "checkpoint"
    text = model_card('de"mo', "A note.", scales, tmp_path / "comparison.tsv", 300, checkpoint, samples=5)
    _, matter, body = text.split("---\n", 2)
    assert yaml.safe_load(matter)["pipeline_tag"] == "automatic-speech-recognition"
    card = ModelCard(text)
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value, card.data.model_name) == ("wer", 3.42, 'de"mo')
    assert "`onnx/model_quantized.onnx` holds the quantized graph" in body
    assert "holds 5 recordings of the evaluation split" in body
    without = model_card("demo", "", scales, tmp_path / "comparison.tsv", 300, checkpoint)
    assert "`samples/`" not in without
