"""Write a bundle's network as a model repository of Triton or of OpenVINO Model Server.

The servers compute logits. Their clients prepare the audio and decode, as the bundle's card says.
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from stablequant.bundle.read_bundle import Bundle, check
from stablequant.errors import StableQuantError, missing_package
from stablequant.recognisers.family import Signature, Tensor
from stablequant.storage.files import data_beside, replacing_folder, write_json, write_text

LARGEST_BATCH = 16  # requests of one length that Triton may compute together
KINDS = {"float32": "TYPE_FP32", "int64": "TYPE_INT64"}  # Triton's names
VERSION = "1"


def export_for_triton(bundle: Bundle, name: str, folder: Path) -> None:
    """Write a model repository with the ONNX graph, for Triton's backend of ONNX Runtime.

    ``folder`` appears complete or not at all. Raises `StableQuantError` if the recogniser has several graphs.
    """
    graph, signature = _only_graph(bundle, name, folder)
    place = _place(bundle, f"{graph}.onnx")
    weights = data_beside(Path(place))
    with replacing_folder(folder) as making:
        _copy(bundle, place, making / name / VERSION / "model.onnx")
        if weights.as_posix() in bundle.record["sha256"] or (bundle.folder / weights).exists():
            _copy(bundle, weights.as_posix(), making / name / VERSION / weights.name)  # the graph names this file
        sizes = _sizes_in(bundle.folder / place, signature)
        write_text(making / name / "config.pbtxt", triton_config(name, signature, sizes))


def triton_config(name: str, signature: Signature, sizes: Mapping[str, Sequence[int]]) -> str:
    """Triton's model configuration, as protobuf text.

    ``sizes`` are those of the axes of each input and output in the graph, -1 where any is taken. The first axis is the
    batch. Triton refuses a graph that has other sizes than its configuration.

    Triton puts requests together only if their tensors have one shape, so no recording is padded.
    """
    listed = [_triton_tensors("input", signature.inputs, sizes), _triton_tensors("output", signature.outputs, sizes)]
    return "\n".join(
        [
            f"name: {json.dumps(name)}",
            'backend: "onnxruntime"',
            f"max_batch_size: {LARGEST_BATCH}",
            *listed,
            "dynamic_batching { }",
            "instance_group [ { kind: KIND_CPU } ]",
            "",
        ]
    )


def _triton_tensors(side: str, tensors: Mapping[str, Tensor], sizes: Mapping[str, Sequence[int]]) -> str:
    entries = [
        f"  {{ name: {json.dumps(name)} data_type: {KINDS[tensor.dtype]} dims: {list(sizes[name][1:])} }}"
        for name, tensor in tensors.items()
    ]
    return "\n".join([f"{side} [", ",\n".join(entries), "]"])


def _sizes_in(graph: Path, signature: Signature) -> dict[str, list[int]]:
    """Sizes of the axes of each input and output of an ONNX graph, by name; -1 where any size is taken.

    Raises `StableQuantError` if they do not match ``signature``, or if the package onnx is not installed.
    """
    try:
        import onnx
    except ImportError as missing:
        raise missing_package("stablequant export", missing.name, "onnxruntime") from missing
    try:
        content = onnx.load(graph, load_external_data=False).graph
    except Exception as error:  # protobuf has several exception classes, and they change between versions
        raise StableQuantError(graph, f"not an ONNX graph ({error})", "quantize again") from error
    tensors = [*content.input, *content.output]
    sizes = {tensor.name: [axis.dim_value or -1 for axis in tensor.type.tensor_type.shape.dim] for tensor in tensors}
    for name, tensor in {**signature.inputs, **signature.outputs}.items():
        if len(sizes.get(name, ())) != len(tensor.axes):
            raise StableQuantError(graph, f"it has no '{name}' with {len(tensor.axes)} axes", "quantize again")
    return sizes


def export_for_ovms(bundle: Bundle, name: str, folder: Path) -> None:
    """Write a model repository with the OpenVINO network, and the server's ``config.json``.

    The server is started in ``folder``, as ``ovms --config_path config.json``. ``folder`` appears complete or not at
    all. Raises `StableQuantError` if the recogniser has several graphs, or if the bundle has no OpenVINO engine.
    """
    graph, _ = _only_graph(bundle, name, folder)
    if "openvino" not in bundle.backends:
        raise StableQuantError(
            bundle.folder,
            "no engine for 'openvino', which this server runs",
            "quantize again with --engines openvino, or take --for triton",
        )
    bundle.engine("openvino")
    with replacing_folder(folder) as making:
        for kind in ("xml", "bin"):
            file = f"engines/openvino/{graph}.{kind}"
            _copy(bundle, _place(bundle, file), making / name / VERSION / f"model.{kind}")
        entry = {"name": name, "base_path": name, "target_device": "CPU"}
        write_json(making / "config.json", {"model_config_list": [{"config": entry}]})


def _only_graph(bundle: Bundle, name: str, folder: Path) -> tuple[str, Signature]:
    """Name and signature of the recogniser's graph. Refuses what cannot be exported, and to replace foreign folders."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise StableQuantError("--name", f"'{name}' is no name for a folder", "take letters, digits, '_', '-' and '.'")
    signatures = bundle.family.signatures(bundle.folder)
    if len(signatures) > 1:
        raise StableQuantError(
            bundle.folder,
            f"its recogniser has {len(signatures)} graphs, and servers take one",
            "use stablequant serve",
        )
    ((graph, signature),) = signatures.items()
    weights = [data_beside(Path(place)).name for place in _places(bundle, f"{graph}.onnx")]
    if folder.exists() and any(folder.iterdir()) and not _is_export(folder, name, weights):
        raise StableQuantError(
            folder, f"it exists, and is no model repository of '{name}' only", "name a new folder, and copy the model"
        )
    return graph, signature


def _is_export(folder: Path, name: str, weights: Sequence[str]) -> bool:
    """Whether ``folder`` holds what an export of the model ``name`` writes, and nothing else that would be lost.

    ``weights`` are names of the file for the weights of a large graph.
    """
    model = f"{name}/{VERSION}/model"
    own = {"config.json", f"{name}/config.pbtxt", f"{model}.onnx", f"{model}.xml", f"{model}.bin"}
    own |= {f"{name}/{VERSION}/{file}" for file in weights}
    files = (file for file in folder.rglob("*") if not file.is_dir())
    return (folder / name / VERSION).is_dir() and all(file.relative_to(folder).as_posix() in own for file in files)


def _places(bundle: Bundle, file: str) -> list[str]:
    """Where a file lies in a bundle: under its published name, or in a bundle of an earlier version its own."""
    return [*(name for name, named in bundle.family.published(bundle.folder).items() if named == file), file]


def _place(bundle: Bundle, file: str) -> str:
    """Where a file of this bundle lies."""
    return next((place for place in _places(bundle, file) if (bundle.folder / place).is_file()), file)


def _copy(bundle: Bundle, name: str, copy: Path) -> None:
    check(bundle.folder, bundle.record, name)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(bundle.folder / name, copy)
