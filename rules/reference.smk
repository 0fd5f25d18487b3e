# What fp32 makes of the calibration set.
#
# INPUTS   results/{model}/checkpoint/, layers.tsv, utterances/calibration.tsv; the evaluation split only has to be known
#          good before long work starts, so it is ancient here
# OUTPUTS  results/{model}/reference.json          WER, words and hypotheses
#          results/{model}/reference.safetensors   log posteriors by utterance
#          results/{model}/histograms.safetensors  magnitudes of every quantized module's input


rule recognise_reference:
    """Recognise the calibration set in fp32."""
    input:
        checkpoint="results/{model}/checkpoint",
        utterances="results/{model}/utterances/calibration.tsv",
        checked=ancient("results/{model}/utterances/evaluation.tsv"),
    output:
        summary="results/{model}/reference.json",
        posteriors="results/{model}/reference.safetensors",
    log:
        "logs/{model}/recognise_reference.log",
    benchmark:
        "results/{model}/benchmarks/recognise_reference.tsv"
    priority: 50
    conda:
        "../envs/search.yaml"
    resources:
        mem_mb=memory(copies=1),
        runtime=runtime(passes=1, gpu=True),
        gpu=gpus,
    params:
        device=config["device"],
        batch_seconds=config["batch_seconds"],
        code=code_digest("recognise_reference"),
    script:
        "../scripts/recognise_reference.py"


rule collect_histograms:
    """Gather the histograms of all layers in one pass."""
    input:
        checkpoint="results/{model}/checkpoint",
        layers="results/{model}/layers.tsv",
        utterances="results/{model}/utterances/calibration.tsv",
        checked=ancient("results/{model}/utterances/evaluation.tsv"),
    output:
        "results/{model}/histograms.safetensors",
    log:
        "logs/{model}/collect_histograms.log",
    benchmark:
        "results/{model}/benchmarks/collect_histograms.tsv"
    priority: 50
    conda:
        "../envs/search.yaml"
    resources:
        mem_mb=memory(copies=1),
        runtime=runtime(passes=1, gpu=True),
        gpu=gpus,
    params:
        device=config["device"],
        batch_seconds=config["batch_seconds"],
        code=code_digest("collect_histograms"),
    script:
        "../scripts/collect_histograms.py"
