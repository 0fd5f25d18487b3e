"""The files of a bundle: which there are, and what is refused when they were changed."""

import json
import os
import shutil
from pathlib import Path

import pytest
from commands import run
from demo_bundle import bundle_of
from recognising import heard, torch_network

from stablequant.bundle.choose_engine import choose_engine
from stablequant.bundle.read_bundle import RECORD, read_bundle
from stablequant.bundle.transcribe import load_bundle
from stablequant.bundle.write_bundle import Sample
from stablequant.errors import StableQuantError
from stablequant.storage.files import checksum
from stablequant.workflow.provenance import checksums


def test_a_bundle_that_was_changed_is_refused(bundle, demo_utterances, tmp_path):
    def refused(change, message: str) -> None:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(bundle, copy)
        change(copy)
        done = run("transcribe", copy, demo_utterances[0].path, expect=1)
        (error,) = [line for line in done.stderr.decode().splitlines() if line.startswith("error: ")]
        assert message in error, error
        assert "Traceback" not in done.stderr.decode()

    weights = "openvino_model.bin"
    refused(lambda b: (b / weights).write_bytes(b"foreign"), f"{weights}: the file was changed")
    refused(lambda b: (b / weights).unlink(), f"{weights}: missing from the bundle")
    refused(lambda b: (b / "vocab.json").write_text("{}"), "vocab.json: the file was changed")
    refused(lambda b: shutil.rmtree(b / "engines"), "it has no engine; copy the bundle again")
    refused(lambda b: (b / "quantization.json").unlink(), "not a bundle")
    refused(lambda b: (b / "quantization.json").write_text("[]"), "no checksums")


def test_a_bundle_without_openvino_needs_no_option(bundle, demo, demo_utterances, tmp_path):
    made, few = bundle.parent, demo_utterances[:2]
    truth = heard(demo, torch_network(demo.model), few)
    samples = [Sample(Path(u.path), u.transcript, {"onnxruntime": truth[u.path]}) for u in few]
    other = bundle_of(tmp_path / "other", made, {"onnxruntime": made / "onnxruntime"}, samples)
    done = run("verify", other)
    assert "; onnxruntime runs in int8 arithmetic\n" in done.stdout.decode()
    assert done.stdout.decode().endswith("2 of 2 stored hypotheses reproduced\n")
    (tmp_path / "few.csv").write_text("\n".join(["path,text", *(f"{u.path},{u.transcript}" for u in few)]) + "\n")
    assert "Word Error Rate (WER): " in run("evaluate", other, tmp_path / "few.csv").stdout.decode()
    assert load_bundle(other).transcribe(few[0].path).text == truth[few[0].path]
    with pytest.raises(StableQuantError, match=r"no engine for 'openvino'; it has others, take --backend onnxruntime$"):
        load_bundle(other, backend="openvino")
    refused = run("export", other, "--for", "ovms", "--out", tmp_path / "served", expect=1).stderr.decode()
    assert "no engine for 'openvino', which this server runs; quantize again with --engines openvino" in refused


def test_where_no_engine_of_a_bundle_runs_it_is_said_why(bundle, tmp_path):
    made = bundle.parent
    shutil.copytree(made / "onnxruntime", tmp_path / "engine")
    described = tmp_path / "engine/engine.json"
    described.write_text(json.dumps(json.loads(described.read_text()) | {"backend": "abacus"}))
    opened = read_bundle(bundle_of(tmp_path / "other", made, {"abacus": tmp_path / "engine"}))
    with pytest.raises(StableQuantError, match=r"no engine in it runs on this machine \(abacus: .*no backend 'abacus'"):
        choose_engine(opened, None)
    both = {"abacus": tmp_path / "engine", "openvino": made / "openvino"}
    assert choose_engine(read_bundle(bundle_of(tmp_path / "both", made, both)), None).name == "openvino"


def test_a_record_without_an_engines_checksums_is_refused(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "copy")
    record = json.loads((tmp_path / "copy/quantization.json").read_text())
    record["sha256"] = {name: s for name, s in record["sha256"].items() if not name.startswith("engines/")}
    (tmp_path / "copy/quantization.json").write_text(json.dumps(record))
    with pytest.raises(StableQuantError, match="no checksum of 'engines/openvino/'"):
        read_bundle(tmp_path / "copy").engine("openvino")


def test_a_record_that_names_files_elsewhere_is_refused(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "copy")
    record = json.loads((tmp_path / "copy/quantization.json").read_text())
    record["sha256"]["engines/openvino/../../../outside"] = "0"
    (tmp_path / "copy/quantization.json").write_text(json.dumps(record))
    with pytest.raises(StableQuantError, match="leads out of the bundle"):
        read_bundle(tmp_path / "copy").engine("openvino")


def test_a_network_without_a_checksum_and_an_engine_elsewhere_are_refused(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "copy")
    network = tmp_path / "copy/engines/openvino/model.xml"
    network.symlink_to(bundle / "openvino_model.xml")
    with pytest.raises(StableQuantError, match=r"openvino/model\.xml: it has no checksum"):
        read_bundle(tmp_path / "copy").engine("openvino")
    network.unlink()
    network.parent.rename(tmp_path / "elsewhere")
    network.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StableQuantError, match="leads out of the bundle"):
        read_bundle(tmp_path / "copy").engine("openvino")


def test_a_network_that_an_engine_seeks_elsewhere_is_refused(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "copy")
    described = tmp_path / "copy/engines/openvino/engine.json"
    content = json.loads(described.read_text())
    assert content["files"] == {f"model.{kind}": f"../../openvino_model.{kind}" for kind in ("bin", "xml")}
    for place in ("../../../outside.xml", "/outside.xml", "../../unlisted.xml"):
        described.write_text(json.dumps(content | {"files": {"model.xml": place}}))
        record = json.loads((tmp_path / "copy" / RECORD).read_text())
        record["sha256"]["engines/openvino/engine.json"] = checksum(described)
        (tmp_path / "copy" / RECORD).write_text(json.dumps(record))
        with pytest.raises(StableQuantError, match=r"it has no checksum of '.*(outside|unlisted)\.xml'"):
            read_bundle(tmp_path / "copy").engine("openvino")


def test_each_file_is_in_the_bundle_once_and_where_others_look_for_it(bundle):
    files = {str(file.relative_to(bundle)): checksum(file) for file in bundle.rglob("*") if file.is_file()}
    networks = {name for name in files if Path(name).suffix in (".onnx", ".xml", ".bin")}
    assert networks == {"onnx/model_quantized.onnx", "openvino_model.xml", "openvino_model.bin"}
    assert {"tokens.txt", "tokenizer.json", "config.json", "preprocessor_config.json", "vocab.json"} <= files.keys()


def test_a_bundle_of_an_earlier_version_is_read(bundle, demo_utterances, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(bundle, old)
    for kind in ("xml", "bin"):
        (old / f"openvino_model.{kind}").rename(old / f"engines/openvino/model.{kind}")
    (old / "onnx/model_quantized.onnx").rename(old / "model.onnx")
    described = old / "engines/openvino/engine.json"
    described.write_text(json.dumps({k: v for k, v in json.loads(described.read_text()).items() if k != "files"}))
    shutil.rmtree(old / "engines/onnxruntime")
    record = json.loads((old / RECORD).read_text())
    (old / RECORD).unlink()
    (old / RECORD).write_text(json.dumps(record | {"sha256": checksums(old)}))
    path = demo_utterances[0].path
    assert load_bundle(old).transcribe(path) == load_bundle(bundle).transcribe(path)
    done = run("export", old, "--for", "ovms", "--out", tmp_path / "served")
    assert done.stdout.decode().strip() == str(tmp_path / "served")


def test_a_bundle_in_the_cache_of_the_hub_is_used_as_it_is(bundle, demo_utterances, tmp_path):
    """As ``hf download`` leaves it: every file is a link into the folder ``blobs`` of its repository."""
    snapshot = tmp_path / "models--me--demo/snapshots/0123456789abcdef0123456789abcdef01234567"
    blobs = tmp_path / "models--me--demo/blobs"
    blobs.mkdir(parents=True)
    for file in (file for file in bundle.rglob("*") if file.is_file()):
        link = snapshot / file.relative_to(bundle)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, blobs / checksum(file))
        link.symlink_to(os.path.relpath(blobs / checksum(file), link.parent))
    assert run("verify", snapshot).stdout.decode().endswith("2 of 2 stored hypotheses reproduced\n")
    path = demo_utterances[0].path
    for backend in ("openvino", "onnxruntime"):
        expected = load_bundle(bundle, backend=backend).transcribe(path)
        assert load_bundle(snapshot, backend=backend).transcribe(path) == expected
