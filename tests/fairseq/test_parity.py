"""What fairseq itself saved is what this project reads: the same logits for the same audio."""

import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PROJECT

from stablequant.corpora.audio import normalise
from stablequant.recognisers.ctc.front_end import read_front_end
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.sources import checkpoint_layers
from stablequant.recognisers.wav2vec2.loading import load_recogniser

pytestmark = pytest.mark.fairseq

FAIRSEQ = PROJECT / ".venv-fairseq/bin/python"
NAMES = [
    *("-".join(parts) for parts in product(("hubert", "wav2vec2"), ("default", "layer_norm"), ("post", "pre"))),
    "wav2vec2-default-args",
    "wav2vec2-layer_norm-args",
]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    if not FAIRSEQ.is_file():
        pytest.skip("fairseq's own environment is not there: make test-fairseq")
    folder = tmp_path_factory.mktemp("fairseq") / "checkpoints"
    command = [FAIRSEQ, PROJECT / "tests/fairseq/write_checkpoints.py", folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_form_was_written(checkpoints):
    assert sorted(folder.name for folder in checkpoints.iterdir()) == sorted(["data", *NAMES])


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_fairseqs(checkpoints, tmp_path, name):
    source = checkpoints / name / "checkpoint.pt"
    assert (source.parent / "dict.ltr.txt").is_file() == name.endswith("args"), "with and without a dictionary inside"
    table = import_checkpoint(str(source), tmp_path / "checkpoint")
    assert table["layer"].unique().tolist() == checkpoint_layers(str(source), None, "key")

    model = load_recogniser(tmp_path / "checkpoint")
    front_end = read_front_end(tmp_path / "checkpoint")
    assert front_end.do_normalize == ("layer_norm" in name)
    assert front_end.vocabulary.tokens[:6] == ["<pad>", "<s>", "</s>", "<unk>", "|", "E"]
    assert model.config.feat_extract_norm == ("layer" if "layer_norm" in name else "group")
    measured = sorted(source.parent.glob("logits-*.npz"))
    assert len(measured) == 2
    for file in measured:
        stored = np.load(file)
        audio = normalise(stored["audio"], front_end.epsilon) if front_end.do_normalize else stored["audio"]
        with torch.inference_mode():
            logits = model(torch.from_numpy(audio[None])).logits[0].numpy()
        assert stored["logits"].std() > 0.5, "nothing to compare"
        assert np.abs(logits - stored["logits"]).max() < 1e-4
