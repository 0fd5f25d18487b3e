"""The fp32 and INT8 graphs of a recogniser of HuBERT large's shape, with random weights, to be measured."""

from pathlib import Path

import soundfile
import torch
from project import CONFIG, PROCEDURE
from noise import RATE
from random_large import large_config
from simulated import collect
from transformers import HubertForCTC

from stablequant.corpora.utterance import Utterance, table_of
from stablequant.engines.insert_qdq import insert_qdq
from stablequant.quantization.collecting import Preparation
from stablequant.quantization.least_error import mse_range
from stablequant.recognisers.ctc.decoding import GRAPH
from stablequant.recognisers.ctc.front_end import FrontEnd, write_front_end
from stablequant.recognisers.ctc.vocabulary import Vocabulary
from stablequant.recognisers.export_onnx import export_onnx
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.search.equalise_channels import equalise_channels
from stablequant.search.split import read_split
from stablequant.storage.files import checksum, write_table

CUT_OFF = 99.9  # percent, of all layers


def write_hubert_large(folder: Path) -> None:
    """A checkpoint of HuBERT large's shape with random weights."""
    torch.manual_seed(0)
    vocabulary = Vocabulary(["<pad>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"], blank=0)
    HubertForCTC(large_config(vocabulary)).save_pretrained(folder)
    write_front_end(folder, FrontEnd(RATE, True, vocabulary))


def quantize(checkpoint: Path, folder: Path) -> None:
    """Write ``fp32.onnx`` and ``int8.onnx``, the graph of the default procedure with one cut-off for all layers."""
    threads = torch.get_num_threads()
    export_onnx(checkpoint, folder / "fp32.onnx", threads)
    recogniser = load_recogniser(checkpoint, threads=threads)
    split = read_split(recogniser, write_noise(folder), CONFIG["batch_mb"], CONFIG["seed"])
    step, scales = PROCEDURE.equalisation, {}
    if step:
        scales = equalise_channels(recogniser, split, step.exponent, step.percentile, step.audio_seconds)
    preparation = Preparation(scales, PROCEDURE.recentre, PROCEDURE.split_audio)
    histograms = collect(recogniser, split, preparation)
    ranges = {name: mse_range(histogram, CUT_OFF) for name, histogram in histograms.items()}
    source, destination = {GRAPH: folder / "fp32.onnx"}, {GRAPH: folder / "int8.onnx"}
    insert_qdq(source, recogniser.modules, ranges, scales, destination)


def write_noise(folder: Path) -> Path:
    """A table of one utterance, eight seconds of noise that lie beside it."""
    audio = torch.randn(8 * RATE, generator=torch.Generator().manual_seed(0)).numpy()
    path, table = folder / "noise.wav", folder / "utterances.tsv"
    soundfile.write(path, audio, RATE, subtype="FLOAT")
    write_table(table, table_of([Utterance(path.stem, str(path), len(audio), "", checksum(path))], Utterance))
    return table
