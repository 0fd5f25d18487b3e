# How this run was started: by whom, and whether jobs are to run.

import sys
from pathlib import Path

from snakemake.cli import parse_args

LOOKS = (  # options with which Snakemake shows or tidies, and runs no job
    *("dryrun", "lint", "list_target_rules", "list_rules", "print_compilation", "containerize", "report", "dag"),
    *("generate_unit_tests", "rulegraph", "filegraph", "d3dag", "unlock", "cleanup_metadata", "conda_cleanup_envs"),
    *("conda_create_envs_only", "list_conda_envs", "cleanup_shadow", "container_cleanup_images", "list_changes"),
    *("list_input_changes", "list_params_changes", "list_untracked", "summary", "detailed_summary", "archive"),
)


def is_typed():
    """Whether Snakemake itself was started, and not another program that runs this workflow, as `stablequant quantize`."""
    program = Path(sys.argv[0])
    return program.name == "snakemake" or program.parts[-2:] == ("snakemake", "__main__.py")


def executes():
    """Whether jobs are to run: whoever only looks at the workflow must change no file."""
    if not is_typed():
        return not workflow.output_settings.dryrun
    _, options = parse_args(sys.argv[1:])
    return not any(getattr(options, name, None) not in (None, False) for name in LOOKS)
