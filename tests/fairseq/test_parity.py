"""What fairseq itself saved is what this project reads: the same logits for the same audio."""

import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from checkout import PROJECT

from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.wav2vec2.layers import layer_names

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
    assert table["layer"].unique().tolist() == layer_names(cnn=7, transformer=3)

    recogniser = load_recogniser(tmp_path / "checkpoint")
    model, front_end = recogniser.model, recogniser.front_end
    assert list(recogniser.layers) == layer_names(cnn=7, transformer=3)
    assert front_end.do_normalize == ("layer_norm" in name)
    assert front_end.vocabulary.tokens[:6] == ["<pad>", "<s>", "</s>", "<unk>", "|", "E"]
    assert model.config.feat_extract_norm == ("layer" if "layer_norm" in name else "group")
    measured = sorted(source.parent.glob("logits-*.npz"))
    assert len(measured) == 2
    for file in measured:
        stored = np.load(file)
        audio = torch.from_numpy(front_end.prepare(stored["audio"])[None])
        context, state = recogniser.context([audio.shape[1]]), recogniser.enter({"hidden": audio})
        with torch.inference_mode():
            whole = model(audio).logits[0].numpy()
        assert stored["logits"].std() > 0.5, "nothing to compare"
        for logits in (whole, recogniser.logits(state, 0, context)[0].numpy()):
            assert np.abs(logits - stored["logits"]).max() < 1e-4
