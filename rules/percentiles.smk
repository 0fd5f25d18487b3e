# The cut-off percentile of each selected layer. The selection decides which layers are searched but not what is found, so
# it is ancient here: another threshold reruns no search that was already made.
#
# INPUTS   as for the probes, and results/{model}/sensitivity.tsv
# OUTPUTS  results/{model}/percentiles/{layer}.json   every candidate, and the best


rule search_percentile:
    """Recognise the calibration set with one layer clipped at each percentile of the grid."""
    input:
        checkpoint="results/{model}/checkpoint",
        layers="results/{model}/layers.tsv",
        utterances="results/{model}/utterances/calibration.tsv",
        summary="results/{model}/reference.json",
        posteriors="results/{model}/reference.safetensors",
        histograms="results/{model}/histograms.safetensors",
        selection=ancient("results/{model}/sensitivity.tsv"),
    output:
        "results/{model}/percentiles/{layer}.json",
    log:
        "logs/{model}/search_percentile/{layer}.log",
    benchmark:
        "results/{model}/benchmarks/search_percentile/{layer}.tsv"
    priority: 40
    conda:
        "../envs/search.yaml"
    resources:
        mem_mb=memory(copies=1),
        runtime=runtime(passes=len(config["percentiles"]), gpu=True),
        gpu=gpus,
    params:
        percentiles=config["percentiles"],
        device=config["device"],
        batch_seconds=config["batch_seconds"],
        seed=config["seed"],
        code=code_digest("search_percentile"),
    script:
        "../scripts/search_percentile.py"
