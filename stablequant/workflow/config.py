"""Check the config before anything runs."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from stablequant.errors import StableQuantError

PATHS = ("checkpoint", "calibration", "evaluation", "audio_root")


def resolve_config(config: dict[str, Any], schema_file: Path) -> None:
    """Check ``config`` and change it, in place, to the form that the rules read.

    Models that are null are removed: this is how a second config file removes a model. In paths, ``{librispeech}`` is
    replaced by the folder of the config key ``librispeech``.

    Raises
    ------
    StableQuantError
        when ``config`` does not follow the schema, or needs the folder of LibriSpeech and it does not exist.
    """
    if isinstance(config.get("models"), dict):
        config["models"] = {name: settings for name, settings in config["models"].items() if settings is not None}
    validate_config(config, schema_file)
    folder = config["librispeech"]
    for settings in config["models"].values():
        for key in PATHS:
            if "{librispeech}" in settings.get(key, ""):
                if not Path(folder).is_dir():
                    raise StableQuantError(
                        "config key 'librispeech'",
                        f"the folder '{folder}' does not exist",
                        "give the folder of LibriSpeech, --config librispeech=/data/LibriSpeech, or fetch its parts "
                        "dev-clean and test-clean into resources/LibriSpeech: snakemake --cores 2 librispeech",
                    )
                settings[key] = settings[key].replace("{librispeech}", folder)


def validate_config(config: Mapping[str, object], schema_file: Path) -> None:
    """Raise `StableQuantError` if ``config`` does not follow the schema; it names the key and the remedy."""
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


def _key(path: Iterable[object]) -> str:
    return "config key '" + ": ".join(str(part) for part in path) + "'"
