"""One engine from one method's ONNX graphs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stablequant.engines.backend import Request, backend_named
from stablequant.engines.folder import write_engine
from stablequant.engines.precision import precision_table
from stablequant.recognisers.family import QuantizedModule
from stablequant.recognisers.registry import family_of
from stablequant.storage.files import graph_bytes
from stablequant.storage.onnx_graph import graph_files


@dataclass(frozen=True)
class Order:
    """Which engine is wanted.

    Attributes
    ----------
    backend, method: as the config names them
    settings: the backend's block of the config, empty where it has none
    samples: lengths of the utterances to tune the engine for, empty where its backend tunes for none
    float_layers: layers that are not quantized
    """

    backend: str
    method: str
    settings: Mapping[str, Any]
    samples: Sequence[int]
    float_layers: Collection[str]


def build_engine(
    order: Order,
    graph: Path,
    checkpoint: Path,
    modules: Sequence[QuantizedModule],
    folder: Path,
    provenance: Mapping[str, Any] | None = None,
) -> int:
    """Build ``folder`` from ``graph`` and the graphs beside it; return the size in bytes of what was built."""
    family, backend = family_of(checkpoint), backend_named(order.backend, "config key 'engines'")
    signatures = family.signatures(checkpoint)
    graphs = graph_files(graph, list(signatures))
    longest = order.settings.get("max_samples", 0)
    limits = family.limits(checkpoint, order.samples, longest) if order.samples else {}
    request = Request(graphs, signatures, limits, order.settings, whole=not order.float_layers)
    description = {
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
