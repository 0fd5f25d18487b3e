"""The fp32 and INT8 graphs of a recogniser of HuBERT large's shape, with random weights, to be measured."""

from pathlib import Path

import soundfile
import torch
import yaml
from random_large import RATE, large_config
from transformers import HubertForCTC

from stablequant.corpora.list_utterances import Utterance, table_of
from stablequant.engines.insert_qdq import insert_qdq
from stablequant.quantization.collecting import collecting
from stablequant.quantization.least_error import mse_range
from stablequant.recognisers.batches import loaded
from stablequant.recognisers.ctc.export_onnx import export_onnx
from stablequant.recognisers.ctc.front_end import FrontEnd, write_front_end
from stablequant.recognisers.ctc.vocabulary import Vocabulary
from stablequant.recognisers.wav2vec2.forward import Stages
from stablequant.recognisers.wav2vec2.layers import quantized_modules
from stablequant.recognisers.wav2vec2.loading import load_recogniser
from stablequant.search.equalise_channels import equalise_channels
from stablequant.search.recognise_reference import read_split
from stablequant.storage.files import checksum, write_table

CONFIG = yaml.safe_load((Path(__file__).resolve().parent.parent / "config.yaml").read_text())
CUT_OFF = 99.9  # percent, of all layers


def write_hubert_large(folder: Path) -> None:
    """A checkpoint of HuBERT large's shape with random weights."""
    torch.manual_seed(0)
    vocabulary = Vocabulary(["<pad>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"], blank=0)
    HubertForCTC(large_config(vocabulary)).save_pretrained(folder)
    write_front_end(folder, FrontEnd(RATE, True, vocabulary))


@torch.inference_mode()
def quantize(checkpoint: Path, folder: Path) -> None:
    """Write ``fp32.onnx`` and ``int8.onnx``, the graph of the default procedure with one cut-off for all layers."""
    model = load_recogniser(checkpoint, attention="eager", threads=torch.get_num_threads())
    modules = quantized_modules(model.config.to_dict())
    export_onnx(model, modules, folder / "fp32.onnx")
    split = read_split(checkpoint, write_noise(folder), CONFIG["batch_mb"], CONFIG["seed"])
    equalisation = [CONFIG["equalisation"][key] for key in ("exponent", "percentile", "audio_seconds")]
    scales = equalise_channels(Stages(model), modules, split, *equalisation)
    with collecting(model, modules, scales, CONFIG["recentre"], CONFIG["split_audio"]) as collectors:
        for _, audio in loaded(split.batches, split.front_end, "calibration"):
            model(torch.from_numpy(audio))
    ranges = {name: mse_range(histogram, CUT_OFF) for name, histogram in collectors.histograms().items()}
    insert_qdq(folder / "fp32.onnx", modules, ranges, scales, folder / "int8.onnx")


def write_noise(folder: Path) -> Path:
    """A table of one utterance, eight seconds of noise that lie beside it."""
    audio = torch.randn(8 * RATE, generator=torch.Generator().manual_seed(0)).numpy()
    path, table = folder / "noise.wav", folder / "utterances.tsv"
    soundfile.write(path, audio, RATE, subtype="FLOAT")
    write_table(table, table_of([Utterance(path.stem, str(path), len(audio), "", checksum(path))], Utterance))
    return table
