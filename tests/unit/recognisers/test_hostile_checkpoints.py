"""Hostile checkpoints: refused by name, and nothing of them is executed."""

import io
import pickle
import tempfile
from pathlib import Path

import pytest
import torch
from hostile import DAMAGE, MANY
from hypothesis import example, given
from hypothesis import strategies as st

from stablequant.errors import StableQuantError
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.unpickling import plain

MARK = Path(tempfile.mkdtemp()) / "was here"  # what a checkpoint that is executed leaves


class Evil:
    def __reduce__(self):
        return (MARK.write_text, ("x",))


def checkpoint_bytes(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


STATES = [
    checkpoint_bytes({"model": {"w2v_encoder.proj.weight": torch.zeros(4, 4)}, "args": None, "cfg": None}),
    checkpoint_bytes({"model": {}, "cfg": {"model": {"_name": "wav2vec_ctc"}}}),
    pickle.dumps({"model": [1, 2, 3]}),
    checkpoint_bytes({"model": {"x": Evil()}}),
    pickle.dumps(Evil()),
]


@MANY
@given(state=st.sampled_from(STATES), damage=st.one_of(st.just([]), DAMAGE), kept=st.floats(0.01, 1))
@example(state=STATES[2], damage=[(0.0, 71)], kept=0.125)  # struct.error
def test_a_checkpoint_is_refused_and_runs_nothing(tmp_path, state, damage, kept):
    content = bytearray(state)
    for spot, value in damage:
        content[int(spot * len(content))] = value
    del content[int(kept * len(content)) + 1 :]
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(bytes(content))
    with pytest.raises(StableQuantError, match=r"^\S*checkpoint\.pt: [^\n]*; [^\n]*$"):
        import_checkpoint(str(file), tmp_path / "imported")
    assert not MARK.exists()
    assert not (tmp_path / "imported").exists()


def test_settings_that_name_one_list_again_and_again_are_refused():
    shared: list = []
    for _ in range(40):
        shared = [shared, shared]
    with pytest.raises(ValueError, match="settings"):
        plain({"model": shared})
