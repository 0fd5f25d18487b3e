"""The project that benchmarks measure: its folder, which this makes importable, and its default settings."""

import sys
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from stablequant.workflow.procedure import EXTENDED, read_procedure

CONFIG = yaml.safe_load((PROJECT / "config.yaml").read_text())
PROCEDURE = read_procedure(CONFIG, EXTENDED)
