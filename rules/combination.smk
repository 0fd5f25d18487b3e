# All layers quantized at once. The searches treat each layer alone; here the calibration set says whether that holds
# together, and what is to be mended where it does not.
#
# INPUTS   as for the searches, and results/{model}/sensitivity.tsv, percentiles.tsv
# OUTPUTS  results/{model}/combination.json   cut-offs by layer, layers left in floating point
#          results/{model}/combination.tsv    one row per recognition of the calibration set


rule check_combination:
    """Recognise the calibration set with all layers quantized, and mend what loses too much."""
    input:
        checkpoint="results/{model}/checkpoint",
        layers="results/{model}/layers.tsv",
        utterances="results/{model}/utterances/calibration.tsv",
        summary="results/{model}/reference.json",
        posteriors="results/{model}/posteriors.safetensors",
        histograms="results/{model}/prepared_histograms.safetensors",
        channel_scales="results/{model}/channel_scales.safetensors",
        weights="results/{model}/weights.safetensors",
        sensitivity="results/{model}/sensitivity.tsv",
        percentiles="results/{model}/percentiles.tsv",
    output:
        choice="results/{model}/combination.json",
        steps="results/{model}/combination.tsv",
    log:
        "logs/{model}/check_combination.log",
    benchmark:
        "results/{model}/benchmarks/check_combination.tsv"
    priority: 40
    conda:
        "../envs/search.yaml"
    resources:
        mem_mb=memory(copies=2),
        runtime=runtime(passes=COMBINATION_PASSES, gpu=True),
        gpu=gpus,
    params:
        settings=step("combination"),
        percentiles=config["percentiles"],
        threshold=config["threshold"],
        unrecovered=config["unrecovered"],
        device=config["device"],
        batch_mb=config["batch_mb"],
        seed=config["seed"],
        code=code_digest("check_combination"),
    script:
        "../scripts/check_combination.py"
