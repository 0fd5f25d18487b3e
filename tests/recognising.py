"""A CTC recogniser with its torch model, and audio recognised with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from stablequant.corpora.utterance import Batch, Utterance
from stablequant.engines.evaluate_engine import recognise
from stablequant.recognisers.ctc.decoding import CtcDecoder
from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.recognisers.family import Network
from stablequant.recognisers.modules import QuantizedModule
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.wav2vec2.family import read_front_end
from stablequant.recognisers.wav2vec2.forward import Wav2Vec2Recogniser
from stablequant.recognisers.wav2vec2.layers import quantized_modules
from stablequant.recognisers.wav2vec2.loading import load_model
from stablequant.search.split import Split


@dataclass(frozen=True)
class Loaded:
    """A checkpoint, its torch model with eager attention, and its parts."""

    folder: Path
    model: torch.nn.Module
    modules: list[QuantizedModule]
    front_end: FrontEnd

    @classmethod
    def load(cls, folder: Path) -> "Loaded":
        model = load_model(folder, attention="eager", threads=2)
        return cls(folder, model, quantized_modules(model.config.to_dict()), read_front_end(folder))

    def recogniser(self, model: torch.nn.Module | None = None) -> Wav2Vec2Recogniser:
        """As the search sees it; ``model`` takes the place of its own."""
        return Wav2Vec2Recogniser(model or self.model, self.front_end)

    def decoder(self, network: Network) -> CtcDecoder:
        """As engines run it."""
        return family_of(self.folder).decoder(self.folder, {"model": network})


def torch_network(model: torch.nn.Module) -> Network:
    """A CTC model as engines are run: ``input_values`` in, ``logits`` out."""

    @torch.inference_mode()
    def network(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"logits": model(torch.from_numpy(tensors["input_values"])).logits.numpy()}

    return network


def batches_of(loaded: Loaded, utterances: list[Utterance], budget: float = 1e8) -> list[Batch]:
    """Batches of equally long utterances, as an engine recognises them."""
    return loaded.decoder(torch_network(loaded.model)).batches(utterances, budget)


def heard(loaded: Loaded, network: Network, utterances: list[Utterance]) -> dict[str, str]:
    """Hypotheses by path."""
    return recognise(loaded.decoder(network), batches_of(loaded, utterances), loaded.front_end.sample_rate, "test")


def split_in(loaded: Loaded, utterances: list[Utterance], budget: float = 2e7) -> Split:
    """A calibration set in `batches_of`."""
    return Split(utterances, batches_of(loaded, utterances, budget), loaded.front_end.sample_rate)
