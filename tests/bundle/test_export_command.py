"""``stablequant export``: folders for model servers."""

import json
import re

import numpy as np
import onnxruntime
import pytest
from commands import run
from demo_bundle import bundle_of

from stablequant.bundle.export_for_server import export_for_triton
from stablequant.bundle.read_bundle import read_bundle
from stablequant.errors import StableQuantError
from stablequant.storage import onnx_graph
from stablequant.storage.files import checksum
from stablequant.storage.onnx_graph import load_graph, save_graph


def test_servers_get_the_networks_of_the_bundle(bundle, tmp_path):
    run("export", bundle, "--for", "triton", "--out", tmp_path / "triton", "--name", "demo")
    assert checksum(tmp_path / "triton/demo/1/model.onnx") == checksum(bundle / "onnx/model_quantized.onnx")
    configured = (tmp_path / "triton/demo/config.pbtxt").read_text().split()
    assert configured[:2] == ["name:", '"demo"']
    assert configured.count("TYPE_FP32") == 2
    run("export", bundle, "--for", "ovms", "--out", tmp_path / "ovms", "--name", "demo")
    (entry,) = json.loads((tmp_path / "ovms/config.json").read_text())["model_config_list"]
    folder = tmp_path / "ovms" / entry["config"]["base_path"] / "1"
    assert checksum(folder / "model.xml") == checksum(bundle / "openvino_model.xml")
    assert checksum(folder / "model.bin") == checksum(bundle / "openvino_model.bin")
    assert entry["config"]["name"] == "demo"
    (tmp_path / "triton/other/1").mkdir(parents=True)
    (tmp_path / "triton/other/1/model.onnx").touch()
    refused = run("export", bundle, "--for", "triton", "--out", tmp_path / "triton", "--name", "demo", expect=1)
    assert "is no model repository of 'demo' only" in refused.stderr.decode()
    assert (tmp_path / "triton/other/1/model.onnx").is_file()
    run("export", bundle, "--for", "triton", "--out", tmp_path / "ovms", "--name", "demo")
    assert (tmp_path / "ovms/demo/1/model.onnx").is_file()


@pytest.mark.parametrize(
    ("name", "fault"), [("../demo", "is no name for a folder"), ("demo", "is no model repository of 'demo'")]
)
def test_an_export_replaces_nothing_foreign(bundle, tmp_path, name, fault):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/precious.txt").touch()
    done = run("export", bundle, "--for", "triton", "--out", tmp_path / "mine", "--name", name, expect=1)
    assert fault in done.stderr.decode()
    assert (tmp_path / "mine/precious.txt").is_file()


def test_triton_is_told_the_sizes_in_the_graph(bundle, tmp_path):
    """It refuses a graph with other sizes than in its configuration. Triton itself is not run, only ONNX Runtime."""
    run("export", bundle, "--for", "triton", "--out", tmp_path / "triton", "--name", "demo")
    configured = (tmp_path / "triton/demo/config.pbtxt").read_text()
    listed = re.findall(r'name: "(\w+)" data_type: \w+ dims: (.*?) \}', configured)
    graph = tmp_path / "triton/demo/1/model.onnx"
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    shapes = {tensor.name: tensor.shape for tensor in (*session.get_inputs(), *session.get_outputs())}
    sizes = {name: [size if isinstance(size, int) else -1 for size in shape[1:]] for name, shape in shapes.items()}
    assert {name: json.loads(dims) for name, dims in listed} == sizes
    letters = len(json.loads((bundle / "vocab.json").read_text()))
    assert sizes == {"input_values": [-1], "logits": [-1, letters]}


def test_the_weights_of_a_large_graph_are_exported(bundle, tmp_path, monkeypatch):
    """They lie in a file of their own, which the graph names. The limit of 2 GB is lowered."""
    monkeypatch.setattr(onnx_graph, "MAX_PROTOBUF_BYTES", 1000)
    made = bundle.parent
    save_graph(load_graph(made / "int8.onnx"), tmp_path / "int8.onnx")
    (tmp_path / "checkpoint").symlink_to(made / "checkpoint")
    large = read_bundle(bundle_of(tmp_path / "bundle", tmp_path, {"openvino": made / "openvino"}))
    for _ in range(2):  # the second export replaces the first
        export_for_triton(large, "demo", tmp_path / "triton")
        version = tmp_path / "triton/demo/1"
        assert {file.name for file in version.iterdir()} == {"model.onnx", "model_quantized.onnx.data"}
        audio = {"input_values": np.random.default_rng(0).standard_normal((1, 4000), dtype=np.float32)}
        found, expected = (
            onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, audio)[0]
            for graph in (version / "model.onnx", made / "int8.onnx")
        )
        assert np.allclose(found, expected, atol=1e-4)
    (tmp_path / "bundle/onnx/model_quantized.onnx.data").unlink()
    with pytest.raises(StableQuantError, match=r"model_quantized\.onnx\.data: missing from the bundle"):
        export_for_triton(large, "demo", tmp_path / "other")
    assert not (tmp_path / "other").exists()
