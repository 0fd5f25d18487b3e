"""Check the config before anything runs, and say in plain words what is wrong with it."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import jsonschema
import yaml

from stablequant.errors import StableQuantError

PATHS = ("checkpoint", "calibration", "evaluation", "audio_root", "peers")
FILES = ("calibration", "evaluation", "audio_root", "peers")  # these must exist; a checkpoint may be on the hub
KINDS = {  # type in the schema: what a user calls it
    "object": "keys and values",
    "array": "a list",
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "empty",
}
BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
}


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


def check_files(files: Iterable[Path]) -> None:
    """Check what is lost once the config's files were read and merged.

    Raises
    ------
    StableQuantError
        when a key occurs twice in a block, when YAML reads the name of a model as a number or a truth value, or when
        a model is empty everywhere: an empty model removes one that another file defines. Files that cannot be read
        as YAML are skipped; Snakemake reads them first, and refuses them.
    """
    empty: dict[str, str] = {}
    filled: set[str] = set()
    for file in files:
        try:
            root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if _value(root, "__use_yte__") is not None:  # a template, in which keys such as ?if may occur again
            continue
        _check_repetition(file, root, [])
        for key, value in _entries(_value(root, "models")):
            place = f"{file}, line {key.start_mark.line + 1}"
            if key.tag != "tag:yaml.org,2002:str":
                raise StableQuantError(
                    place,
                    f"YAML does not read the model's name {key.value} as text",
                    f'put it in quotes: "{key.value}":',
                )
            if value.tag == "tag:yaml.org,2002:null":
                empty[key.value] = place
            else:
                filled.add(key.value)
    for name, place in empty.items():
        if name not in filled:
            raise StableQuantError(
                place,
                f"the model '{name}' is empty",
                "give it a checkpoint, calibration and evaluation, or remove the line",
            )


def _entries(node: yaml.Node | None) -> Sequence[tuple[yaml.Node, yaml.Node]]:
    return node.value if isinstance(node, yaml.MappingNode) else []


def _value(node: yaml.Node | None, name: str) -> yaml.Node | None:
    return next((value for key, value in _entries(node) if key.value == name), None)


def _check_repetition(file: Path, node: yaml.Node | None, path: list[str]) -> None:
    seen: dict[str, int] = {}
    for key, value in _entries(node):
        name = str(key.value)
        line = key.start_mark.line + 1
        if name in seen and name != "<<":  # << merges blocks; several are allowed
            raise StableQuantError(
                f"{file}, line {line}", f"the {_key([*path, name])} is on line {seen[name]} too", "keep one of them"
            )
        seen[name] = line
        _check_repetition(file, value, [*path, name])


def resolve_config(config: dict[str, Any], schema_file: Path) -> None:
    """Check ``config`` and change it, in place, to the form that the rules read.

    Models that are null are removed: this is how a second config file removes a model. In paths, ``{librispeech}`` is
    replaced by the folder of the config key ``librispeech``.

    Raises
    ------
    StableQuantError
        when ``config`` does not follow the schema, names a file that does not exist or the same data for calibration
        and evaluation, needs the folder of LibriSpeech and it does not exist, or asks for two ways to search.
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
    if config["search"] == "screened" and config["racing"]["enabled"]:
        raise StableQuantError(
            _key(["racing", "enabled"]),
            "a screened search counts words on all calibration audio, and does not end early",
            "leave racing off, or set search: exhaustive",
        )


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
                _key(["models", name, key]), f"'{settings[key]}' does not exist{start}", "correct the path"
            )
    if Path(settings["calibration"]).samefile(settings["evaluation"]):
        raise StableQuantError(
            _key(["models", name, "evaluation"]),
            f"'{settings['evaluation']}' is the calibration data too",
            "give other audio: engines must be judged on audio that they were not calibrated with",
        )


def validate_config(config: Mapping[str, object], schema_file: Path) -> None:
    """Raise `StableQuantError` if ``config`` does not follow the schema; it names the key and the remedy."""
    for path, value in _leaves(config, []):
        if isinstance(value, float) and not math.isfinite(value):
            raise StableQuantError(_key(path), f"{value} cannot be used", "give a finite number")
    models = config.get("models")
    for name in models if isinstance(models, Mapping) else ():
        if not isinstance(name, str):
            raise StableQuantError(
                _key(["models", _shown(name)]), "YAML does not read this name as text", "put the name in quotes"
            )
    schema = yaml.safe_load(schema_file.read_text(encoding="utf-8"))
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(config))
    if error is not None:
        raise StableQuantError(*_explained(error, schema))


def _leaves(value: object, path: list[object]) -> Iterator[tuple[list[object], object]]:
    """Every value in nested dictionaries and lists that is neither, with its path."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, [*path, key])
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, [*path, index])
    else:
        yield path, value


def _explained(error: jsonschema.ValidationError, schema: Mapping[str, Any]) -> tuple[str, str, str]:
    """Place, fault and remedy of an error that jsonschema found."""
    place = _key(error.absolute_path)
    value: Any = error.instance
    rule = cast(Mapping[str, Any], error.schema)
    shown = _shown(value)
    purpose = _purpose(error, schema)
    if error.validator == "additionalProperties":
        known = list(rule["properties"])
        unknown = next(key for key in value if key not in known)
        close = get_close_matches(str(unknown), known, n=1)
        remedy = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"
        return _key([*error.absolute_path, unknown]), "there is no such key", remedy
    if error.validator == "required":
        missing = {key: rule["properties"][key].get("description", "") for key in rule["required"] if key not in value}
        meanings = "; ".join(f"'{key}' means {meaning}" for key, meaning in missing.items())
        return place, f"without the key {', '.join(missing)}", f"add what is missing: {meanings}"
    if error.validator == "enum":
        close = get_close_matches(str(value).lower(), map(str, rule["enum"]), n=1)
        choices = f"choose one of {', '.join(map(str, rule['enum']))}{purpose}"
        return place, f"{shown} is not known", f"did you mean '{close[0]}'? Else {choices}" if close else choices
    if error.validator == "type":
        fault = "it is empty" if value is None else f"{shown} is {_kind(value)}"
        return place, fault, _right_type(value, rule) + purpose
    if error.validator == "minLength":
        return place, "it is empty", f"give text{purpose}"
    if error.validator in BOUNDS:
        allowed = " and ".join(BOUNDS[key].format(rule[key]) for key in BOUNDS if key in rule)
        return place, f"{shown} is out of range", f"give a value of {allowed}{purpose}"
    if error.validator == "uniqueItems":
        twice = next(item for index, item in enumerate(value) if item in value[:index])
        return place, f"{_shown(twice)} is listed twice", "keep one of them"
    if error.validator in ("minItems", "minProperties"):
        return place, "nothing is listed", f"name at least one{purpose}"
    if error.validator == "contains":
        return place, f"'{rule['contains']['const']}' is missing", f"add it to the list{purpose}"
    if "propertyNames" in error.absolute_schema_path:
        return _key([*error.absolute_path, value]), "this name cannot be used", f"use {rule['description']}"
    return place, f"{shown} does not have the right form", f"correct it{purpose}"


def _right_type(value: object, rule: Mapping[str, Any]) -> str:
    wanted = [rule["type"]] if isinstance(rule["type"], str) else rule["type"]
    if isinstance(value, str) and {*wanted} & {"number", "integer"}:
        try:
            number = float(value)
        except ValueError:
            pass
        else:
            if math.isfinite(number):
                return f"write {number:.15g}, without quotes"
    if "string" in wanted and isinstance(value, int | float) and not isinstance(value, bool):
        return f'put it in quotes: "{value}"'
    if wanted == ["object"]:
        keys = rule.get("required") or rule.get("properties", {})
        return "give a block of keys and values" + (f", with {', '.join(keys)}" if keys else "")
    return f"give {' or '.join(KINDS[kind] for kind in wanted if kind != 'null')}"


def _kind(value: object) -> str:
    """What a user calls the type of ``value``."""
    for kinds, name in (
        (bool, "a truth value"),
        (str, "text"),
        (int, "a whole number"),
        (float, "a number"),
        (Mapping, "a block of keys and values"),
        (list, "a list"),
    ):
        if isinstance(value, kinds):
            return name
    return "of another type"


def _shown(value: object) -> str:
    """``value`` as a user would write it, cut to a readable length."""
    written = f"'{value}'" if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return written if len(written) <= 80 else f"{written[:77]}..."


def _purpose(error: jsonschema.ValidationError, schema: Mapping[str, Any]) -> str:
    """What the key means by the schema's nearest description; blank if there is none."""
    found = ""
    place: Any = schema
    for step in [*error.absolute_schema_path][:-1]:
        place = place[step]
        if isinstance(place, Mapping) and isinstance(place.get("description"), str):
            found = place["description"]
    return f". The key means: {found}" if found else ""


def _key(path: Iterable[object]) -> str:
    parts = [str(part) for part in path]
    return "config key '" + ": ".join(parts) + "'" if parts else "config"
