# Which layers lose too many words when quantized alone: one job per layer, then a gathering that decides what follows.
#
# INPUTS   results/{model}/checkpoint/, layers.tsv, utterances/calibration.tsv, reference.*, histograms.safetensors
# OUTPUTS  results/{model}/sensitivity/{layer}.json   WER, degradation with its interval, errors by utterance
#          results/{model}/sensitivity.tsv            one row per layer; `selected` where above the threshold


rule probe_layer:
    """Recognise the calibration set with one layer alone quantized to its largest values."""
    input:
        checkpoint="results/{model}/checkpoint",
        layers="results/{model}/layers.tsv",
        utterances="results/{model}/utterances/calibration.tsv",
        summary="results/{model}/reference.json",
        posteriors="results/{model}/reference.safetensors",
        histograms="results/{model}/histograms.safetensors",
    output:
        "results/{model}/sensitivity/{layer}.json",
    log:
        "logs/{model}/probe_layer/{layer}.log",
    benchmark:
        "results/{model}/benchmarks/probe_layer/{layer}.tsv"
    priority: 40
    conda:
        "../envs/search.yaml"
    resources:
        mem_mb=memory(copies=1),
        runtime=runtime(passes=1, gpu=True),
        gpu=gpus,
    params:
        device=config["device"],
        batch_seconds=config["batch_seconds"],
        seed=config["seed"],
        code=code_digest("probe_layer"),
    script:
        "../scripts/probe_layer.py"


checkpoint select_layers:
    """Gather the degradations and select the layers above the threshold."""
    input:
        lambda wildcards: expand(
            "results/{model}/sensitivity/{layer}.json",
            model=wildcards.model,
            layer=LAYERS[wildcards.model],
        ),
    output:
        "results/{model}/sensitivity.tsv",
    log:
        "logs/{model}/select_layers.log",
    priority: 40
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        threshold=config["threshold"],
        code=code_digest("select_layers"),
    script:
        "../scripts/select_layers.py"
