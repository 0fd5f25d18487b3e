"""Where the project lies, and the demo's checkpoint in it."""

from pathlib import Path

PROJECT = Path(__file__).parent.parent
DEMO = PROJECT / "resources/demo/model"
