"""Configurations for servers, read by the servers' own formats (make test-interop). No server is run."""

import importlib.util
import json
from pathlib import Path

import jsonschema
import tritonclient
from google.protobuf import text_format

from stablequant.bundle.export_for_server import export_for_ovms, export_for_triton
from stablequant.bundle.read_bundle import read_bundle


def test_triton_reads_the_configuration(bundle, tmp_path):
    """By the format that Triton publishes. Triton itself is not run: that it loads the graph is not shown here."""
    letters = len(json.loads((bundle / "vocab.json").read_text()))
    file = Path(tritonclient.__file__).parent / "grpc/model_config_pb2.py"  # without grpcio, which the package imports
    spec = importlib.util.spec_from_file_location("model_config_pb2", file)
    formats = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(formats)
    export_for_triton(read_bundle(bundle), "demo", tmp_path / "repository")
    read = text_format.Parse((tmp_path / "repository/demo/config.pbtxt").read_text(), formats.ModelConfig())
    assert (read.name, read.backend, read.max_batch_size) == ("demo", "onnxruntime", 16)
    assert [(t.name, t.data_type, list(t.dims)) for t in read.input] == [("input_values", formats.TYPE_FP32, [-1])]
    assert [(t.name, t.data_type, list(t.dims)) for t in read.output] == [("logits", formats.TYPE_FP32, [-1, letters])]
    assert read.HasField("dynamic_batching")
    assert read.instance_group[0].kind == formats.ModelInstanceGroup.KIND_CPU


def test_openvino_model_server_reads_the_configuration(bundle, tmp_path):
    """By what its schema says of the keys that we write (openvinotoolkit/model_server, src/schema.cpp)."""
    text = {"type": "string"}
    known = {"name": text, "base_path": text, "target_device": text}
    needed = {"type": "object", "properties": known, "required": ["name", "base_path"], "additionalProperties": False}
    model = {"type": "object", "properties": {"config": needed}, "required": ["config"], "additionalProperties": False}
    models = {"model_config_list": {"type": "array", "items": model}}
    schema = {"type": "object", "properties": models, "required": [*models], "additionalProperties": False}
    export_for_ovms(read_bundle(bundle), "demo", tmp_path / "repository")
    written = json.loads((tmp_path / "repository/config.json").read_text())
    jsonschema.validate(written, schema)
    (entry,) = written["model_config_list"]
    versions = tmp_path / "repository" / entry["config"]["base_path"]
    assert sorted(file.relative_to(versions).as_posix() for file in versions.rglob("*.*")) == [
        "1/model.bin",
        "1/model.xml",
    ]
