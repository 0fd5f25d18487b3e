# Where the project lies, and its library made importable, also for the jobs. Nothing heavy may be imported while the
# Snakefile is parsed: every cluster job parses it again.

import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

COMMON = workflow.current_basedir.get_path_or_uri(secret_free=True)  # where this file lies, whoever includes it
ROOT = Path(str(COMMON)).parent.parent
LIBRARY = ROOT if (ROOT / "stablequant").is_dir() else ROOT.parent.parent  # as installed: stablequant/project/Snakefile
if not (LIBRARY / "stablequant/workflow").is_dir():
    raise WorkflowError(f"{ROOT}: StableQuant cannot be imported from there; clone it, and name its Snakefile on disk")
if LIBRARY == ROOT:  # a clone, which need not be installed
    sys.path.insert(0, str(ROOT))
    os.environ |= {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.getenv("PYTHONPATH")]))}  # for the jobs
