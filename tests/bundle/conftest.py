"""A bundle of the demo that tests share; nobody changes it."""

import shutil
from pathlib import Path

import pytest
from demo_bundle import write_demo_bundle


@pytest.fixture(scope="session")
def bundle(demo, demo_utterances, shared_folder) -> Path:
    """Beside it lies what it was made from."""
    with shared_folder("demo-bundle") as folder:
        if not (folder / "bundle").is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            write_demo_bundle(folder, demo, demo_utterances)
    return folder / "bundle"
