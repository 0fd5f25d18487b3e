"""Weights that take turns: those in floating point and those in INT8 are never in memory together.

So a search that quantizes all layers needs no more memory than one that quantizes a single layer.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.operations import operation_of
from stablequant.search.trials import Calibration


class SwappedWeights:
    """The weights of a model's modules. Of each module, the weight is in floating point or fake-quantized."""

    def __init__(self, model: torch.nn.Module, modules: Sequence[QuantizedModule], calibration: Calibration) -> None:
        self._model, self._calibration = model, calibration
        self._modules = {m.module: m for m in modules}
        self._quantized: set[str] = set()

    @contextmanager
    def swapping(self) -> Iterator[None]:
        """Inside the block, weights can be swapped; after it, all are in floating point, as before.

        The weights that are not in memory are in a temporary folder.
        """
        with TemporaryDirectory(prefix="stablequant-") as folder:
            self._folder = Path(folder)
            try:
                yield
            finally:
                self.quantize([])

    def quantize(self, modules: Collection[str]) -> None:
        """Fake-quantize the weights of ``modules``, by name; put all others in floating point."""
        wanted = set(modules)
        for name in self._quantized - wanted:
            weight = operation_of(self._model, self._modules[name]).weight
            weight.data = torch.from_numpy(np.load(self._file(name))).to(weight.device)
            self._quantized.remove(name)
        for name in wanted - self._quantized:
            module = self._modules[name]
            weight = operation_of(self._model, module).weight
            if not self._file(name).is_file():
                np.save(self._file(name), weight.detach().cpu().numpy())
            weight.data = self._calibration.weights(self._model, [module])[name]
            self._quantized.add(name)

    def in_memory(self, modules: Sequence[QuantizedModule]) -> dict[str, torch.Tensor]:
        """The weights that ``modules`` have now, by module name."""
        return {m.module: operation_of(self._model, m).weight.data for m in modules}

    def _file(self, name: str) -> Path:
        return self._folder / f"{list(self._modules).index(name)}.npy"
