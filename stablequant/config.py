"""Checking the configuration before anything runs."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from stablequant.errors import StableQuantError


def validate_config(config: dict[str, Any], schema_file: Path) -> None:
    """Raise `StableQuantError`, naming the key and the remedy, unless ``config`` follows the schema."""
    schema = yaml.safe_load(schema_file.read_text(encoding="utf-8"))
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(config))
    if error is None:
        return
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        unknown = next(key for key in error.instance if key not in known)
        close = get_close_matches(str(unknown), known, n=1)
        remedy = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"
        raise StableQuantError(_key([*error.absolute_path, unknown]), "there is no such key", remedy)
    purpose = error.schema.get("description", "see config.schema.yaml")
    raise StableQuantError(_key(error.absolute_path), error.message, f"it is the {purpose}")


def _key(path: Any) -> str:
    return "config key '" + ": ".join(str(part) for part in path) + "'"
