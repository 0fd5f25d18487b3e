# The cut-off percentile of each selected layer. The selection decides which layers are searched but not what is found, so
# it is no input here: another threshold reruns no search that was already made, but with `search: screened`, where it
# says whether the answer is clear.
#
# INPUTS   as for the probes, and the layer's own probe, sensitivity/{layers}.json
# OUTPUTS  results/{model}/percentiles/{layer}.json   every candidate, 100 % as the probe measured it among them,
#                                                and the best
#          results/{model}/percentiles.tsv            one row per searched layer and candidate


rule search_percentile:
    """Recognise the calibration set with one layer clipped at each percentile of the grid."""
    input:
        checkpoint="results/{model}/checkpoint",
        layers="results/{model}/layers.tsv",
        utterances="results/{model}/utterances/calibration.tsv",
        summary="results/{model}/reference.json",
        posteriors="results/{model}/posteriors.safetensors",
        histograms="results/{model}/prepared_histograms.safetensors",
        channel_scales="results/{model}/channel_scales.safetensors",
        weights="results/{model}/weights.safetensors",
        hidden_values="results/{model}/hidden_values.json",
        probe=probe_of_layer,
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
        settings=step("ties"),
        device=config["device"],
        batch_mb=config["batch_mb"],
        confidence=CONFIDENCE,
        screening=(
            {"threshold": config["threshold"], "audio_seconds": config["screening"]["audio_seconds"]}
            if IS_SCREENED
            else None
        ),
        seed=config["seed"],
        code=code_digest("search_percentile"),
    script:
        "../scripts/search_percentile.py"


rule gather_percentiles:
    """Gather what all searches found, and remove the hidden values that they resumed from."""
    input:
        searches=searched_percentiles,
        hidden_values="results/{model}/hidden_values.json",
    output:
        "results/{model}/percentiles.tsv",
    log:
        "logs/{model}/gather_percentiles.log",
    priority: 40
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        code=code_digest("gather_percentiles"),
    script:
        "../scripts/gather_percentiles.py"
