# Digests of the code: as parameters they rerun the stages whose code changed, and no others.

from functools import cache

from snakemake.exceptions import WorkflowError

from stablequant.engines.backend import BACKENDS
from stablequant.workflow import digest


@cache
def digest_asks(script):
    """What the digest of a script depends on besides: ``family``, ``backend``, both or nothing."""
    return digest.placeholders(ROOT / "scripts" / f"{script}.py", LIBRARY)


@cache
def digest_of(script, **chosen):
    """Digest of a script with the family and the backend that it uses."""
    return digest.code_digest(ROOT / "scripts" / f"{script}.py", LIBRARY, chosen)


def code_digest(script):
    """Digest of a script and of all project modules it runs: as a parameter it reruns the stage when they change.

    Of families and backends those count that the job uses. Snakemake asks anew for each job that is ready, whenever
    another one ended, so each digest is computed once.
    """

    # Snakemake compares only parameters that need nothing but wildcards, so this must not ask for the input.
    def of_job(wildcards):
        asked = digest_asks(script)
        chosen = {}
        if "family" in asked:
            try:
                chosen["family"] = family_of_model(wildcards.model)
            except OSError as error:  # on the hub, and not downloaded
                # an error that names FileNotFoundError means "not yet"
                raise WorkflowError(f"FileNotFoundError: {error}") from error
        if "backend" in asked:
            chosen["backend"] = BACKENDS[wildcards.backend].module
        return digest_of(script, **chosen)

    return of_job
