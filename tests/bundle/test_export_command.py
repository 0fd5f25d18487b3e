"""``stablequant export``: folders for model servers."""

import json
import re

import onnxruntime
import pytest
from commands import run

from stablequant.storage.files import checksum


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
