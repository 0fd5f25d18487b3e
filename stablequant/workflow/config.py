"""The config in the form that the rules read, checked before anything runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stablequant.errors import StableQuantError
from stablequant.workflow.config_schema import config_key, validate_config

PATHS = ("checkpoint", "calibration", "evaluation", "audio_root", "peers")
FILES = ("calibration", "evaluation", "audio_root", "peers")  # these must exist; a checkpoint may be on the hub


def anchor(defaults: dict[str, Any], folder: Path) -> None:
    """Make the paths in ``defaults`` absolute that exist below ``folder``, the folder of the Snakefile, in place.

    Other values stay as they are: a path that does not exist there may be the name of a checkpoint on the hub.
    """

    def anchored(value: str) -> str:
        return str(folder / value) if value and (folder / value).exists() else value

    for settings in (defaults.get("models") or {}).values():
        for key in PATHS if isinstance(settings, dict) else ():
            if isinstance(settings.get(key), str):
                settings[key] = anchored(settings[key])
    if isinstance(defaults.get("librispeech"), str):
        defaults["librispeech"] = anchored(defaults["librispeech"])


def resolve_config(config: dict[str, Any], schema_file: Path) -> None:
    """Check ``config`` and change it, in place, to the form that the rules read.

    Models that are null are removed: this is how a second config file removes a model. In paths, ``{librispeech}`` is
    replaced by the folder of the config key ``librispeech``.

    Raises
    ------
    StableQuantError
        when ``config`` does not follow the schema, names a file that does not exist or the same data for calibration
        and evaluation, or needs the folder of LibriSpeech and it does not exist.
    """
    if isinstance(config.get("models"), dict):
        config["models"] = {name: settings for name, settings in config["models"].items() if settings is not None}
    validate_config(config, schema_file)
    for settings in config["models"].values():
        for key in PATHS:
            if "{librispeech}" in settings.get(key, ""):
                settings[key] = settings[key].replace("{librispeech}", _librispeech(config["librispeech"]))
    for name, settings in config["models"].items():
        _check_files_of_model(name, settings)


def _librispeech(folder: str) -> str:
    if not Path(folder).is_dir():
        raise StableQuantError(
            "config key 'librispeech'",
            f"the folder '{folder}' does not exist",
            "give the folder of LibriSpeech, --config librispeech=/data/LibriSpeech, or fetch its parts "
            "dev-clean and test-clean into resources/LibriSpeech: snakemake --cores 2 librispeech",
        )
    return folder


def _check_files_of_model(name: str, settings: Mapping[str, str]) -> None:
    for key in FILES:
        if key in settings and not Path(settings[key]).exists():
            start = "" if Path(settings[key]).is_absolute() else f" (looked for in {Path.cwd()})"
            raise StableQuantError(
                config_key(["models", name, key]), f"'{settings[key]}' does not exist{start}", "correct the path"
            )
    if Path(settings["calibration"]).samefile(settings["evaluation"]):
        raise StableQuantError(
            config_key(["models", name, "evaluation"]),
            f"'{settings['evaluation']}' is the calibration data too",
            "give other audio: engines must be judged on audio that they were not calibrated with",
        )
