"""A checkpoint that several tests change and import."""

from pathlib import Path

import pytest
from wav2vec2_files import write_tiny_checkpoint


@pytest.fixture
def source(tmp_path) -> Path:
    """A tiny random recogniser in Hugging Face layout."""
    folder = tmp_path / "source"
    write_tiny_checkpoint(folder)
    return folder
