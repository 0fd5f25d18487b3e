"""The names under which libraries look for the files of a CTC recogniser."""

from collections.abc import Mapping
from pathlib import Path

from stablequant.recognisers.ctc.decoding import GRAPH
from stablequant.recognisers.ctc.write_vocabulary import TOKENIZER, TOKENS

ONNX = "onnx/model_quantized.onnx"  # transformers.js looks for this name; optimum takes the only graph that it finds
NETWORK = "openvino_model"  # optimum-intel


def published(folder: Path) -> Mapping[str, str]:
    """See `stablequant.recognisers.family.Family.published`."""
    built = {f"{NETWORK}.{kind}": f"engines/openvino/{GRAPH}.{kind}" for kind in ("xml", "bin")}
    return {ONNX: f"{GRAPH}.onnx", **built} | {name: name for name in (TOKENIZER, TOKENS) if (folder / name).is_file()}
