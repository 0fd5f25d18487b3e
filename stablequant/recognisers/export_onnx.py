"""Export the recogniser as fp32 ONNX graphs. The nodes that can be quantized have the names of their modules."""

import json
from collections.abc import Mapping
from importlib import import_module, metadata
from pathlib import Path

from stablequant.recognisers.family import Exporting
from stablequant.recognisers.registry import family_of
from stablequant.storage.files import graph_bytes, graph_files
from stablequant.storage.onnx_graph import save_graph
from stablequant.workflow.version import version

PLUGIN = "stablequant.recognisers.{family}.export_onnx"
EXPORTERS = ("torch", "transformers")  # packages whose versions are written into a graph


def export_onnx(checkpoint: Path, graph: Path, threads: int) -> int:
    """Write the graphs of an imported checkpoint; return their size in bytes.

    The main graph is written to ``graph``, further graphs beside it, see `graph_files`. The node that computes the
    product of a module has the name of the module. The metadata of each graph holds `description` and what its family
    writes besides.
    """
    family = family_of(checkpoint)
    part: Exporting = import_module(PLUGIN.format(family=family.name))
    exported = part.export(checkpoint, threads)
    files = graph_files(graph, list(family.signatures(checkpoint)))
    described = description(family.sample_rate(checkpoint))
    for name, path in files.items():
        exported[name].metadata_props.update(described)
        save_graph(exported[name], path)
    return sum(graph_bytes(path) for path in files.values())


def description(sample_rate: int) -> Mapping[str, str]:
    """What the metadata of every graph says: its task, the sample rate of its audio in Hz, and who made it."""
    versions = {"stablequant": version()} | {name: metadata.version(name) for name in EXPORTERS}
    return {
        "task": "automatic-speech-recognition",
        "sample_rate": str(sample_rate),
        "versions": json.dumps(versions),
    }
