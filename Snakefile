# StableQuant: from a speech recogniser (CTC or Whisper) and audio with transcripts to INT8 engines and their evidence.

from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")


if Path("config.yaml").is_file():  # beside this file: the defaults; elsewhere: what is to differ from them

    configfile: "config.yaml"


# what rules are written with; in this order, for the refusals come before all that costs time
include: "rules/common/library.smk"  # the library, importable
include: "rules/common/invocation.smk"  # whether jobs are to run
include: "rules/common/config.smk"  # what is refused, and what each model is to get
include: "rules/common/terminal.smk"  # stages of a run that was typed
include: "rules/common/digests.smk"  # digests of the code
include: "rules/common/checkpoint.smk"  # the checkpoint and its family
include: "rules/common/splits.smk"  # manifests and audio
include: "rules/common/search.smk"  # the layers' jobs
include: "rules/common/engines.smk"  # backends and methods
include: "rules/common/resources.smk"  # GPU, cores, memory and time
include: "rules/common/report.smk"  # plots and tables


wildcard_constraints:
    model="[A-Za-z0-9][A-Za-z0-9._-]*",
    split="calibration|evaluation",
    layer=LAYER,
    layers=f"{LAYER}(-{LAYER})?",
    round="[1-9][0-9]*",
    method="|".join(methods.METHODS),
    backend="|".join(BACKENDS),


# the stages
include: "rules/checkpoint.smk"  # the recogniser in one layout
include: "rules/corpora.smk"  # folders of audio, LibriSpeech
include: "rules/utterances.smk"  # what can be recognised and scored
include: "rules/speed.smk"  # how long a run will take
include: "rules/equalisation.smk"  # channels of one range
include: "rules/massive_channels.smk"  # channels that reach far beyond the rest
include: "rules/rounding.smk"  # weights whose errors cancel
include: "rules/attention.smk"  # queries times keys in INT8
include: "rules/reference.smk"  # fp32's words, posteriors and activations
include: "rules/sensitivity.smk"  # each layer quantized alone
include: "rules/percentiles.smk"  # cut-offs of the layers that suffer
include: "rules/combination.smk"  # all layers quantized together
include: "rules/scales.smk"  # a range for every activation
include: "rules/onnx.smk"  # one graph per method
include: "rules/engines.smk"  # one engine per backend and method
include: "rules/evaluation.smk"  # the engines judged
include: "rules/bundle.smk"  # the result, to take away
include: "rules/report.smk"  # plots and tables to look at


rule all:
    """Everything for every model of the config."""
    default_target: True
    input:
        expand("results/{model}/comparison.tsv", model=config["models"]),
        expand("results/{model}/bundle", model=SEARCHED),
        expand("results/{model}/report.html", model=config["models"]),
