# The engines of a model: one for each backend and method.

from stablequant.engines.backend import BACKENDS
from stablequant.workflow import methods


def of_each_engine(pattern, method="{method}"):
    """Files of all engines of a model; ``pattern`` has the wildcards ``model``, ``backend`` and ``method``."""

    def files(wildcards):
        model = wildcards.model
        wanted = METHODS[model] if method == "{method}" else [method]
        return expand(pattern, model=model, backend=ENGINES[model], method=wanted)

    return files


def backend_settings(wildcards):
    """The backend's block of the config."""
    block = BACKENDS[wildcards.backend].settings
    return config[block] if block else {}


def lengths_to_tune_for(wildcards):
    """Utterances of whose lengths an engine is built, where it is built for any.

    It is tuned for those of the calibration split, which come first, so that the evaluation split only judges. It takes
    those of both.
    """
    splits = ["calibration", "evaluation"] if BACKENDS[wildcards.backend].tuned else []
    return [f"results/{wildcards.model}/utterances/{split}.tsv" for split in splits]
