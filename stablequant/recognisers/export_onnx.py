"""Export the recogniser as fp32 ONNX graphs. The nodes that can be quantized have the names of their modules."""

from importlib import import_module
from pathlib import Path

from stablequant.recognisers.family import Exporting
from stablequant.recognisers.registry import family_of
from stablequant.storage.files import graph_bytes, graph_files
from stablequant.storage.onnx_graph import save_graph

PLUGIN = "stablequant.recognisers.{family}.export_onnx"


def export_onnx(checkpoint: Path, graph: Path, threads: int) -> int:
    """Write the graphs of an imported checkpoint; return their size in bytes.

    The main graph is written to ``graph``, further graphs beside it, see `graph_files`. The node that computes the
    product of a module has the name of the module.
    """
    family = family_of(checkpoint)
    part: Exporting = import_module(PLUGIN.format(family=family.name))
    exported = part.export(checkpoint, threads)
    files = graph_files(graph, list(family.signatures(checkpoint)))
    for name, path in files.items():
        save_graph(exported[name], path)
    return sum(graph_bytes(path) for path in files.values())
