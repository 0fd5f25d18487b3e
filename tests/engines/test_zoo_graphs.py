"""Twins of published checkpoints are exported, and their graphs agree with transformers in ONNX Runtime."""

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import AutoModelForCTC
from zoo import NAMES, ZOO, Published, clips

from stablequant.recognisers.export_onnx import export_onnx
from stablequant.recognisers.import_checkpoint import import_checkpoint

GRAPHS = [  # twins whose graphs differ in more than their weights
    "facebook/wav2vec2-base-960h",
    "facebook/wav2vec2-large-960h-lv60-self",
    "facebook/hubert-large-ls960-ft",
    "patrickvonplaten/wavlm-libri-clean-100h-base-plus",
    "patrickvonplaten/wavlm-libri-clean-100h-large",
    "facebook/data2vec-audio-base-960h",
    "facebook/wav2vec2-conformer-rel-pos-large-960h-ft",
    "facebook/wav2vec2-conformer-rope-large-960h-ft",
    "microsoft/unispeech-sat-base-100h-libri-ft",
    "microsoft/unispeech-1350-en-17h-ky-ft-1h",
]


@pytest.mark.parametrize("name", GRAPHS)
@torch.inference_mode()
def test_the_graph_of_a_twin_agrees_with_transformers(name: str, tmp_path):
    source = NAMES[name].write(tmp_path / "source")
    import_checkpoint(str(source), tmp_path / "imported")
    export_onnx(tmp_path / "imported", tmp_path / "model.onnx", 1)
    theirs = AutoModelForCTC.from_pretrained(source, dtype=torch.float32, attn_implementation="eager").eval()
    graph = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for clip in clips():
        values = np.stack([clip, clip[::-1]])
        (found,) = graph.run(None, {"input_values": values})
        np.testing.assert_allclose(found, theirs(torch.from_numpy(values)).logits, atol=1e-4, rtol=1e-4)


def test_every_graph_of_the_zoo_is_exported():
    """A twin whose architecture is not in `GRAPHS` would be untried."""

    def architecture(published: Published) -> tuple:
        settings = published.settings
        return tuple(
            settings.get(key)
            for key in (
                "model_type",
                "feat_extract_norm",
                "do_stable_layer_norm",
                "position_embeddings_type",
                "hidden_act",
            )
        )

    tried = {architecture(NAMES[name]) for name in GRAPHS}
    assert {architecture(published) for published in ZOO} == tried
    assert len(NAMES) == len(ZOO) >= 25
    assert all(published.sources or published.assumed for published in ZOO)
