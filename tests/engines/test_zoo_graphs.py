"""Twins of published checkpoints are exported, and their graphs agree with transformers in ONNX Runtime.

An export takes seconds, so twins that differ only in `NOT_IN_GRAPH` share one. Each of them runs with its own weights.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from transformers import AutoModelForCTC
from zoo.catalogue import NAMES, ZOO
from zoo.twin import Published, clips

from stablequant.recognisers.ctc.huggingface import CTC
from stablequant.recognisers.export_onnx import export_onnx
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.wav2vec2.loading import load_model

NOT_IN_GRAPH = {  # the first two are sizes and numbers of weights; the others are settings of a training
    *("vocab_size", "pad_token_id", "mask_time_prob", "mask_feature_prob", "mask_time_length", "ctc_loss_reduction"),
    *("gradient_checkpointing", "hidden_dropout_prob", "layerdrop"),
}


def _layout(published: Published) -> str:
    """The settings that decide which operations a graph has."""
    settings = published.settings
    return json.dumps({key: value for key, value in settings.items() if key not in NOT_IN_GRAPH}, sort_keys=True)


LAYOUTS: dict[str, list[Published]] = defaultdict(list)
for _published in ZOO:
    LAYOUTS[_layout(_published)].append(_published)


@pytest.mark.parametrize("twins", LAYOUTS.values(), ids=lambda twins: twins[0].name)
@torch.inference_mode()
def test_graphs_of_twins_agree_with_transformers(twins: list[Published], tmp_path):
    folders = [_imported(twin, tmp_path / str(number)) for number, twin in enumerate(twins)]
    export_onnx(folders[0] / "imported", tmp_path / "model.onnx", 1)
    graph = onnx.load(tmp_path / "model.onnx")
    places = _places(graph, _weights(folders[0]))
    for folder in folders:
        theirs = AutoModelForCTC.from_pretrained(
            folder / "source", dtype=torch.float32, attn_implementation="eager"
        ).eval()
        _put(graph, places, _weights(folder))
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        for clip in clips():
            values = np.stack([clip, clip[::-1]])
            (found,) = session.run(None, {"input_values": values})
            np.testing.assert_allclose(found, theirs(torch.from_numpy(values)).logits, atol=1e-4, rtol=1e-4)


def _imported(twin: Published, folder: Path) -> Path:
    """Write the checkpoint of a twin to ``folder``, and import it there. One layer is enough, but for WavLM.

    WavLM's first layer computes what the others take from it.
    """
    shallow = twin if twin.kind == "wavlm" else replace(twin, config=twin.config | {"num_hidden_layers": 1})
    import_checkpoint(str(shallow.write(folder / "source")), folder / "imported")
    return folder


def _weights(folder: Path) -> dict[str, np.ndarray]:
    """The weights that the exporter sees, by name."""
    state = load_model(folder / "imported", attention="eager").state_dict()
    return {name: values.numpy() for name, values in state.items()}


def _places(graph: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> dict[int, tuple[str, bool]]:
    """Which of ``weights`` each initializer of ``graph`` is, and whether it is transposed. All must be there.

    The values tell: those of twins are random, so two weights never have the same.
    """
    names = {
        form.tobytes(): (name, transposed)
        for name, values in weights.items()
        if not CTC.needless.search(name)
        for form, transposed in ((values.T, True), (values, False))
    }
    tensors = [numpy_helper.to_array(tensor).tobytes() for tensor in graph.graph.initializer]
    found = {index: names[content] for index, content in enumerate(tensors) if content in names}
    assert {name for name, _ in found.values()} == {name for name, _ in names.values()}
    return found


def _put(graph: onnx.ModelProto, places: Mapping[int, tuple[str, bool]], weights: Mapping[str, np.ndarray]) -> None:
    """Replace the weights of ``graph``, which may have another number of classes then."""
    for index, (name, transposed) in places.items():
        tensor = graph.graph.initializer[index]
        values = weights[name].T if transposed else weights[name]
        shape = values.shape if name.startswith("lm_head.") else tensor.dims  # some have axes of length 1 besides
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values).reshape(shape), tensor.name))
    del graph.graph.value_info[:]
    (output,) = graph.graph.output
    output.type.tensor_type.shape.dim[2].dim_param = "classes"


def test_the_zoo_is_large_and_says_where_its_facts_come_from():
    assert len(NAMES) == len(ZOO) >= 25
    assert all(published.sources or published.assumed for published in ZOO)
