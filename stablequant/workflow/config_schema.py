"""Check the config against its schema, and say in plain words what is wrong with it."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import jsonschema
import yaml

from stablequant.errors import StableQuantError

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


def validate_config(config: Mapping[str, object], schema_file: Path) -> None:
    """Raise `StableQuantError` if ``config`` does not follow the schema; it names the key and the remedy."""
    for path, value in _leaves(config, []):
        if isinstance(value, float) and not math.isfinite(value):
            raise StableQuantError(config_key(path), f"{value} cannot be used", "give a finite number")
    models = config.get("models")
    for name in models if isinstance(models, Mapping) else ():
        if not isinstance(name, str):
            raise StableQuantError(
                config_key(["models", _shown(name)]), "YAML does not read this name as text", "put the name in quotes"
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
    place = config_key(error.absolute_path)
    value: Any = error.instance
    rule = cast(Mapping[str, Any], error.schema)
    shown = _shown(value)
    purpose = _purpose(error, schema)
    if error.validator == "additionalProperties":
        known = list(rule["properties"])
        unknown = next(key for key in value if key not in known)
        close = get_close_matches(str(unknown), known, n=1)
        remedy = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"
        return config_key([*error.absolute_path, unknown]), "there is no such key", remedy
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
        return config_key([*error.absolute_path, value]), "this name cannot be used", f"use {rule['description']}"
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


def config_key(path: Iterable[object]) -> str:
    """``path`` through the config as refusals name it."""
    parts = [str(part) for part in path]
    return "config key '" + ": ".join(parts) + "'" if parts else "config"
