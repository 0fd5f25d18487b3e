"""Load an imported checkpoint as a torch model for inference."""

from pathlib import Path

from transformers import PreTrainedModel
from transformers.models.wav2vec2_bert import modeling_wav2vec2_bert as modeling

from stablequant.recognisers.ctc.loading import load_imported
from stablequant.recognisers.ctc.positions import attend_to_clipped_positions, attend_to_relative_positions
from stablequant.recognisers.wav2vec2_bert.forward import Wav2Vec2BertRecogniser
from stablequant.recognisers.wav2vec2_bert.sizes import read_recognising


def load(folder: Path, device: str = "cpu", threads: int = 1) -> Wav2Vec2BertRecogniser:
    """Load an imported checkpoint as a recogniser, see `load_model`."""
    return Wav2Vec2BertRecogniser(load_model(folder, device, threads), read_recognising(folder).front_end)


def load_model(folder: Path, device: str = "cpu", threads: int = 1, attention: str = "sdpa") -> PreTrainedModel:
    """The CTC model of an imported checkpoint in float32 and evaluation mode.

    ``device`` is auto, cpu or cuda, ``threads`` the number of CPU threads, and ``attention`` the implementation of
    attention in transformers. Relative positions are looked up as in `stablequant.recognisers.ctc.positions`.
    """
    modeling._apply_relative_position_encoding = attend_to_relative_positions
    modeling._apply_relative_key_position_encoding = attend_to_clipped_positions
    return load_imported(folder, device, threads, attention)
