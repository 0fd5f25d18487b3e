"""Engines that others wrote: refused, unless they are what a recogniser has."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnx
import openvino as ov
import pytest
from hostile import SOME
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from recognising import Loaded

from stablequant.engines.backend import Request, backend_named
from stablequant.engines.folder import write_engine
from stablequant.engines.precision import precision_table
from stablequant.engines.running import backend_of, load_engine
from stablequant.errors import StableQuantError
from stablequant.recognisers.registry import family_of


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("place")


def write_foreign(folder: Path, loaded: Loaded, backend: str, fill: Callable[[Path], object]) -> Path:
    """An engine's folder whose networks ``fill`` writes."""

    def build(into: Path) -> dict[str, str]:
        fill(into)
        return {"backend": backend}

    files = {name: loaded.folder / name for name in family_of(loaded.folder).files(loaded.folder)}
    write_engine(folder, files, build, lambda *_: precision_table([], [], {}))
    return folder


@SOME
@given(content=st.binary(max_size=400), backend=st.sampled_from(["openvino", "onnxruntime"]))
def test_a_foreign_engine_file_is_refused(place, tiny, content, backend):
    name = {"openvino": "model.xml", "onnxruntime": "model.onnx"}[backend]
    folder = write_foreign(place / f"engine-{backend}", tiny, backend, lambda into: (into / name).write_bytes(content))
    with pytest.raises(StableQuantError, match=name.replace(".", r"\.")):
        load_engine(folder, 1)


BATCH = [1, 1, 8]
PLAN = {
    "backend": "tensorrt-rtx",
    "version": "1",
    "compute_capabilities": ["8.6"],
    "profile": {"batch": BATCH, "samples": [400, 16_000, 600_000]},
}
PROFILES: list = [
    *({}, 5, None, [BATCH], {"samples": BATCH}),  # no limits of the batch
    *({"batch": batch} for batch in (8, None, "8", [1, 8], ["1", "1", "8"], [1, 1, 8, 8], {"max": 8})),
    *({"batch": BATCH, "samples": samples} for samples in (600_000, None, [400, 16_000], [400, None, 600_000])),
]
SETTINGS: list[dict] = [
    *({"profile": profile} for profile in PROFILES),
    *({"compute_capabilities": capabilities} for capabilities in (None, "8.6", [8.6])),
    *({"version": None}, {"backend": "openvino", "floating": "8"}),
]


@pytest.mark.parametrize("content", [[], {}, None, {"backend": 3}, *(PLAN | setting for setting in SETTINGS)])
def test_an_engines_description_of_anything_is_refused(place, content):
    (place / "engine.json").write_text(json.dumps(content))
    with pytest.raises(StableQuantError, match=r"engine\.json: not an engine's description; build the engine again"):
        backend_of(place)


@pytest.mark.parametrize("name", ["openvno", "../openvino", "tensorrt_rtx", "backend", ""])
def test_an_engine_of_an_unknown_backend_is_refused_with_those_that_are_known(place, name):
    """No module is imported by a name that a stranger wrote."""
    (place / "engine.json").write_text(json.dumps(PLAN | {"backend": name}))
    with pytest.raises(
        StableQuantError, match=rf"engine\.json: there is no backend '{name}'; known are openvino, onnxruntime"
    ):
        backend_of(place)


def test_an_intact_engines_description_is_read(place):
    (place / "engine.json").write_text(json.dumps(PLAN))
    backend, description = backend_of(place)
    assert description == PLAN
    assert backend.max_batch(description) == 8


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize(("output", "axes"), [("logits", 2), ("sum", 3)])
def test_a_network_that_is_no_recognisers_is_refused(place, tiny, backend, output, axes):
    shape = ["batch", "samples", 1][:axes]
    audio = helper.make_tensor_value_info("input_values", TensorProto.FLOAT, shape[:2])
    found = helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)
    nodes = [helper.make_node("Abs", ["input_values"], [output])]
    if axes == 3:
        last = helper.make_node(
            "Constant", [], ["last"], value=helper.make_tensor("last", TensorProto.INT64, [1], [-1])
        )
        nodes = [last, helper.make_node("Unsqueeze", ["input_values", "last"], [output])]
    graph = helper.make_graph(nodes, "g", [audio], [found])
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), place / "other.onnx")
    signatures = family_of(tiny.folder).signatures(tiny.folder)
    request = Request({"model": place / "other.onnx"}, signatures, {}, {"floating": "float32"}, all_int8=True)
    build = partial(backend_named(backend, place).build, request)
    folder = write_foreign(place / f"other-{backend}-{output}-{axes}", tiny, backend, build)
    with pytest.raises(StableQuantError, match=rf"model\.\w+: its .* are input_values \(2 axes\), {output} \({axes}"):
        load_engine(folder, 1)


def test_a_network_of_open_shape_and_without_names_is_refused(place, tiny):
    audio = ov.opset13.parameter(ov.PartialShape.dynamic(), ov.Type.f32)
    model = ov.Model([ov.opset13.abs(audio)], [audio], "nameless")
    folder = write_foreign(place / "nameless", tiny, "openvino", lambda into: ov.save_model(model, into / "model.xml"))
    with pytest.raises(
        StableQuantError, match=r"model\.xml: its .* are \w+ \(any number of axes\), .* a recogniser has"
    ):
        load_engine(folder, 1)


@pytest.mark.parametrize("where", ["initializer", "node", "branch"])
def test_a_graph_that_reads_weights_from_elsewhere_is_refused(place, tiny, where):
    (place / "weights").write_bytes(b"\0" * 64)  # beside the engine's folder
    weight = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[16])
    onnx.external_data_helper.set_external_data(_filled(weight), "../weights")
    add = helper.make_node("Add", ["input_values", "weight"], ["logits"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [16]) for name in ("input_values", "logits")]
    constant = helper.make_node("Constant", [], ["weight"], value=weight)
    branch = helper.make_graph([constant, add], "branch", [], values[1:])
    nodes = {
        "initializer": [add],
        "node": [constant, add],
        "branch": [helper.make_node("If", ["wanted"], ["logits"], then_branch=branch, else_branch=branch)],
    }
    wanted = helper.make_tensor("wanted", TensorProto.BOOL, [], [True])
    initializers = [weight] if where == "initializer" else [wanted]
    graph = helper.make_graph(nodes[where], "g", values[:1], values[1:], initializers)
    content = helper.make_model(graph).SerializeToString()
    folder = write_foreign(
        place / f"external-{where}", tiny, "onnxruntime", lambda into: (into / "model.onnx").write_bytes(content)
    )
    with pytest.raises(StableQuantError, match=r"model\.onnx: it reads weights from another file; do not use it"):
        load_engine(folder, 1)


def _filled(tensor: TensorProto) -> TensorProto:
    tensor.raw_data = b"\0" * 64
    return tensor
