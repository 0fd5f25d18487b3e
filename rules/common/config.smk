# The config: what is refused comes first, then what each model is to get. Only the main process reads the manifests: in
# a job, parsing costs the same whatever the corpus holds.

import os
import sys
from functools import cache
from pathlib import Path

from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.io import contains_wildcard
from snakemake.logging import logger
from snakemake.utils import update_config

from stablequant.corpora.folders import list_folder
from stablequant.corpora.manifests import check_apart, manifest_in, read_manifest, siblings
from stablequant.errors import StableQuantError
from stablequant.recognisers import sources
from stablequant.recognisers.registry import family_of
from stablequant.workflow.config import anchor, resolve_config
from stablequant.workflow.config_files import check_files
from stablequant.workflow.fingerprint import set_back
from stablequant.workflow.procedure import read_procedure
from stablequant.workflow.terminal import show_causes


def with_defaults(config):
    """``config`` with the defaults, from beside the Snakefile, of what it does not say.

    Where we run in another folder, the defaults' paths are those beside the Snakefile. A workflow that imports this one
    names all models itself.
    """
    defaults = load_configfile(ROOT / "config.yaml")
    if ROOT != Path.cwd():
        anchor(defaults, ROOT)
    if workflow.modifier.skip_configfile and "models" in config:
        defaults["models"] = {}
    update_config(defaults, config)
    return defaults


@cache
def manifest_at(path, root):
    """The manifest ``path`` with the audio below ``root``; of a folder, what `write_manifest` will list."""
    return list_folder(path) if path.is_dir() else read_manifest(path, root)


def manifest_of_split(settings, split):
    """The manifest of a model's split, which is read once."""
    root = settings.get("audio_root")
    return manifest_at(Path(settings[split]), Path(root) if root else None)


def check_braces(name, settings):
    """Refuse files whose names hold what Snakemake takes for a wildcard; it has no way to write them."""
    files = [Path(settings[key]) for key in ("calibration", "evaluation", "peers") if key in settings]
    files += [file for split in files[:2] if split.is_file() for file in siblings(split)]
    for file in (*files, *sources.checkpoint_files(settings["checkpoint"], settings.get("target_lang"))):
        if contains_wildcard(file):
            raise WorkflowError(
                f"config key 'models: {name}': Snakemake would read the braces in '{file}' as a wildcard; rename it, or "
                "give a link to it with another name"
            )


if not workflow.output_settings.verbose:
    show_causes(logger)
if " " in sys.executable:
    raise WorkflowError(f"{sys.executable}: Snakemake cannot start jobs from a path with a space; move the project")
if contains_wildcard(str(ROOT)):
    raise WorkflowError(f"{ROOT}: Snakemake would read the braces as a wildcard; move the project")
if workflow.modifier.path_modifier.prefix or workflow.modifier.path_modifier.modifies_prefixes:
    raise WorkflowError(
        "module: StableQuant's results cannot get a prefix; leave out 'prefix' and 'replace_prefix', or work in another "
        "folder (--directory)"
    )
try:
    if not workflow.modifier.skip_configfile:  # else the files are another workflow's, with other keys besides
        check_files([ROOT / "config.yaml", *map(Path, workflow.configfiles)])
    config = with_defaults(config)
    resolve_config(config, ROOT / "config.schema.yaml")
    for name, settings in config["models"].items():
        sources.check_source(settings["checkpoint"], f"config key 'models: {name}: checkpoint'")
        for split in ("calibration", "evaluation"):
            settings[split] = str(manifest_in(Path(settings[split])))
        check_braces(name, settings)
        if not sources.is_hub_identifier(settings["checkpoint"]):
            family_of(Path(settings["checkpoint"]))
        if workflow.is_main_process:
            splits = [manifest_of_split(settings, split) for split in ("calibration", "evaluation")]
            check_apart(*splits, f"config key 'models: {name}: evaluation'")
except StableQuantError as error:
    raise WorkflowError(str(error)) from None
if workflow.is_main_process and executes():
    if Path("results").exists() and not os.access("results", os.W_OK):
        raise WorkflowError(
            f"{Path('results').absolute()}: read-only; make it writable, or run elsewhere (--directory)"
        )
    if ahead := set_back(Path("results")):
        logger.warning(
            f"results: made up to {ahead / 60:.0f} minutes ahead of now, as after a clock was set back; their times were "
            "set back by as much, so that whatever is edited from now on counts as newer"
        )
PROCEDURES = {
    name: read_procedure(config, settings.get("procedure", config["procedure"]))
    for name, settings in config["models"].items()
}
ENGINES, METHODS, SAMPLES = (
    {name: settings.get(key, config[key]) for name, settings in config["models"].items()}
    for key in ("engines", "methods", "bundle_samples")
)
SEARCHED = [name for name, methods in METHODS.items() if "stablequant" in methods]  # for others nothing is searched
