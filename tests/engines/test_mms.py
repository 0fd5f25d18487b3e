"""A language of a checkpoint with adapters, through the export, against transformers."""

from pathlib import Path

import numpy as np
import onnxruntime
from graphs import export
from mms_files import by_transformers, write_tiny_mms
from recognising import Loaded

from stablequant.corpora.audio import read_audio
from stablequant.recognisers.import_checkpoint import import_checkpoint


def test_the_graph_of_one_language_computes_what_transformers_does(tmp_path, demo_utterances):
    write_tiny_mms(tmp_path / "source")
    import_checkpoint(str(tmp_path / "source"), tmp_path / "imported", "azj-script_latin")
    loaded = Loaded.load(tmp_path / "imported")
    session = onnxruntime.InferenceSession(export(loaded, tmp_path / "fp32.onnx"), providers=["CPUExecutionProvider"])
    for utterance in demo_utterances[:2]:
        audio = read_audio(Path(utterance.path), 16_000).samples
        expected, words = by_transformers(tmp_path / "source", "azj-script_latin", audio)
        [found] = session.run(["logits"], loaded.front_end.inputs([audio]))[0]
        assert np.abs(found - expected).max() < 1e-4
        found[:, 1:4] = -np.inf  # tokens that are never written, but by transformers' tokenizer
        assert words and loaded.front_end.vocabulary.decode(found.argmax(axis=-1)) == words
