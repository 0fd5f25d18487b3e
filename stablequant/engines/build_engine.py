"""Build one engine from the ONNX graphs of one method."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stablequant.engines.backend import Request, Settings, backend_named
from stablequant.engines.description import Description
from stablequant.engines.folder import write_engine
from stablequant.engines.precision import precision_table
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.registry import family_of
from stablequant.storage.files import graph_bytes, graph_files


@dataclass(frozen=True)
class Order:
    """Which engine to build.

    Attributes
    ----------
    backend, method: their names in the config
    settings: the backend's block of the config; empty if it has none
    samples: lengths in samples of the utterances that the engine is tuned for; empty if the backend does not tune
    float_layers: layers that are not quantized
    longest: length in samples of an utterance that the engine must take, too; 0 if there is none
    """

    backend: str
    method: str
    settings: Settings
    samples: Sequence[int]
    float_layers: Collection[str]
    longest: int = 0


def build_engine(
    order: Order,
    graph: Path,
    checkpoint: Path,
    modules: Sequence[QuantizedModule],
    folder: Path,
    provenance: Mapping[str, object] | None = None,
) -> int:
    """Build an engine into ``folder``; return the size in bytes of what the backend built.

    Parameters
    ----------
    graph: the main ONNX graph; further graphs are beside it
    checkpoint: folder of the imported checkpoint
    modules: all quantized modules, for the table of precisions
    provenance: content of `provenance.json`; without it the file is not written

    Raises
    ------
    StableQuantError
        when the backend's library is not installed, or when the backend cannot build the graphs.
    """
    family, backend = family_of(checkpoint), backend_named(order.backend, "config key 'engines'")
    signatures = family.signatures(checkpoint)
    graphs = graph_files(graph, list(signatures))
    longest = max(order.longest, order.settings.get("max_samples", 0))
    limits = family.limits(checkpoint, order.samples, longest) if order.samples else {}
    request = Request(graphs, signatures, limits, order.settings, all_int8=not order.float_layers)
    description: Description = {
        "backend": order.backend,
        "method": order.method,
        "version": backend.version(),
        "onnx_bytes": sum(graph_bytes(file) for file in graphs.values()),
        "float_layers": len(order.float_layers),
    }
    return write_engine(
        folder,
        {name: checkpoint / name for name in family.files(checkpoint)},
        lambda building: {**description, **backend.build(request, building)},
        lambda built, described: precision_table(
            modules, order.float_layers, backend.precisions(built, described, modules)
        ),
        provenance,
    )
