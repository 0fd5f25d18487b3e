"""Run the workflow in a folder through Snakemake's interface for programs: the same rules, files and reruns."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.scheduling.greedy import SchedulerSettings as GreedySettings
from snakemake.settings.types import (
    DAGSettings,
    ExecutionSettings,
    OutputSettings,
    ResourceSettings,
    SchedulingSettings,
)

from stablequant.errors import StableQuantError
from stablequant.quantize.project import project
from stablequant.storage.locks import locked

MB = 1_000_000
SETTINGS = ExecutionSettings(lock=False)  # the lock is ours
SCHEDULING = SchedulingSettings(scheduler="greedy")  # as in profiles/default


def cores_here() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def memory_here() -> int:
    """Memory of this machine in megabytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MB


def run_workflow(folder: Path, targets: Sequence[str], cores: int) -> bool:
    """Make ``targets`` in ``folder``, all of the workflow's if there are none; return whether that succeeded.

    What is finished and still valid is not made again. What failed is shown, its cause last. Two runs in one folder
    wait for each other; a run that was killed leaves no lock. Raises `StableQuantError` if the config cannot be used.
    """
    logging.getLogger("snakemake").propagate = False  # it shows its lines itself, and ours go to the root's handlers
    with locked(folder / "run", logging.WARNING), SnakemakeApi(OutputSettings()) as api:
        try:
            workflow = api.workflow(
                resource_settings=ResourceSettings(
                    cores=cores, resources={"gpu": 1, "mem_mb": int(0.9 * memory_here())}
                ),
                snakefile=project() / "Snakefile",
                workdir=folder,
            )
            dag = workflow.dag(DAGSettings(targets=frozenset(targets), force_incomplete=True))
            dag.execute_workflow(
                execution_settings=SETTINGS,
                scheduling_settings=SCHEDULING,
                scheduler_settings=GreedySettings(),  # without them Snakemake fails
            )
        except Exception as error:
            if isinstance(error.__context__, StableQuantError):  # Snakemake would end with a line of the Snakefile
                raise error.__context__ from None
            api.print_exception(error)
            return False
    return True
