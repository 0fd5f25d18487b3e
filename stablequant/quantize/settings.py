"""What the command line asks for, as a config of the workflow."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from snakemake.utils import update_config

from stablequant.engines.backend import BACKENDS, backend_named
from stablequant.errors import StableQuantError
from stablequant.quantize.project import project
from stablequant.recognisers.sources import is_hub_identifier
from stablequant.storage.files import write_text
from stablequant.workflow.methods import METHODS

CONFIG = "config.yaml"
HEADER = "# Written by `stablequant quantize`, and again each time that it runs here.\n"
LONGEST_NAME = 94  # as the schema allows, less what may be appended
NEEDED = ("fp32", "stablequant")  # what the verdict compares


@dataclass(frozen=True)
class Options:
    """One recogniser and how it is to be quantized.

    Attributes
    ----------
    checkpoint: a folder, a fairseq file, or ``owner/name[@revision]`` on the hub
    calibration, evaluation: manifests, tables or folders of audio
    out: folder of the run
    engines, methods: names; empty: the config's defaults
    language: language whose adapter is taken, of a checkpoint with several
    audio_root: folder of the audio, in place of the root that a manifest names
    changes: further keys of the config
    """

    checkpoint: str
    calibration: Path
    evaluation: Path
    out: Path
    engines: Sequence[str] = ()
    methods: Sequence[str] = ()
    language: str | None = None
    audio_root: Path | None = None
    changes: tuple[tuple[str, Any], ...] = ()

    @property
    def model(self) -> str:
        """Name of the model, from the checkpoint's: it becomes the name of a folder.

        It is never the name of a model of the defaults, whose settings would be mixed with ours.
        """
        name = self.checkpoint.partition("@")[0] if is_hub_identifier(self.checkpoint) else self.checkpoint
        path = Path(name).absolute()
        cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem if path.suffix == ".pt" else path.name).strip("-._")
        name = cleaned[:LONGEST_NAME] or "model"
        return f"{name}-model" if name in defaults()["models"] else name


def names_of(option: str, values: Iterable[str], known: Sequence[str]) -> list[str]:
    """The names in ``values``, each one name or several with commas; raise `StableQuantError` if one is not known."""
    names = [name.strip() for value in values for name in value.split(",") if name.strip()]
    for name in names:
        if name not in known:
            close = get_close_matches(name.lower(), known, n=1)
            remedy = f"did you mean '{close[0]}'? " if close else ""
            raise StableQuantError(option, f"'{name}' is not known", f"{remedy}Known are {', '.join(known)}")
    return list(dict.fromkeys(names))


def engines_of(values: Iterable[str]) -> list[str]:
    """Names of backends whose packages are installed; raise `StableQuantError` for others."""
    names = names_of("--engines", values, list(BACKENDS))
    for name in names:
        backend_named(name, "--engines")
    return names


def methods_of(values: Iterable[str]) -> list[str]:
    """Names of methods, with those that the verdict needs."""
    names = names_of("--methods", values, METHODS)
    return [name for name in METHODS if name in (*names, *NEEDED)] if names else []


def changes_of(options: dict[str, Any], further: Iterable[str]) -> tuple[tuple[str, Any], ...]:
    """Keys of the config, those that have ``options`` of their own and those given as ``key=value``.

    ``block.key=value`` gives a key in a block. Values are YAML. Raises `StableQuantError` for another form, and for
    models, which the other options describe.
    """
    found: dict[str, Any] = {}
    for text in further:
        name, equals, value = text.partition("=")
        keys = [key.strip() for key in name.split(".")]
        try:
            block = yaml.safe_load(value)
        except yaml.YAMLError:
            keys = []
        if not equals or not all(keys) or not keys:
            raise StableQuantError("--set", f"'{text}' is not KEY=VALUE", "write for example --set max_rejected=0.02")
        if keys[0] == "models":
            raise StableQuantError("--set", "the model is described by the other options", "see --help")
        for key in reversed(keys):
            block = {key: block}
        update_config(found, block)
    update_config(found, options)
    return tuple(found.items())


def write_config(options: Options) -> None:
    """Write the config of the run into its folder.

    Raises
    ------
    StableQuantError
        when a split does not exist, or when the folder has a config that this command did not write.
    """
    for split, path in (("--calibration", options.calibration), ("--evaluation", options.evaluation)):
        if not path.exists():
            raise StableQuantError(split, f"'{path}' does not exist", "correct the path")
    file = options.out / CONFIG
    if file.exists() and not file.read_text(encoding="utf-8", errors="replace").startswith(HEADER):
        raise StableQuantError(file, "it was not written by this command", "give another folder to --out")
    if options.out.resolve() == project().resolve():
        raise StableQuantError(options.out, "it is the project's own folder", "give another folder to --out")
    options.out.mkdir(parents=True, exist_ok=True)
    text = HEADER + yaml.safe_dump(config_of(options), sort_keys=False, allow_unicode=True)
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        write_text(file, text)


def config_of(options: Options) -> dict[str, Any]:
    """What differs from the workflow's defaults; paths are absolute."""
    checkpoint = options.checkpoint
    model: dict[str, Any] = {
        "checkpoint": checkpoint if is_hub_identifier(checkpoint) else str(Path(checkpoint).absolute()),
        "calibration": str(options.calibration.absolute()),
        "evaluation": str(options.evaluation.absolute()),
    }
    if options.language:
        model["target_lang"] = options.language
    if options.audio_root:
        model["audio_root"] = str(options.audio_root.absolute())
    if options.engines:
        model["engines"] = list(options.engines)
    if options.methods:
        model["methods"] = list(options.methods)
    removed = dict.fromkeys(defaults()["models"])
    return {"models": {**removed, options.model: model}, **dict(options.changes)}


def merged_config(options: Options) -> dict[str, Any]:
    """The whole config of the run, as the workflow merges it from its defaults and what `write_config` writes."""
    config = defaults()
    update_config(config, config_of(options))
    return config


def defaults() -> dict[str, Any]:
    """The workflow's defaults."""
    read: dict[str, Any] = yaml.safe_load((project() / CONFIG).read_text(encoding="utf-8"))
    return read
