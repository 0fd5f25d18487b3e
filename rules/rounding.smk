# Weights in INT8, rounded so that their errors cancel over calibration audio.
#
# INPUTS   results/{model}/checkpoint/, layers.tsv, utterances/calibration.tsv, channel_scales.safetensors
# OUTPUTS  results/{model}/weights.safetensors   INT8 weights and their scales by module; none where `procedure` is paper


rule round_weights:
    """Round the weights so that, over calibration audio, their errors cancel."""
    input:
        checkpoint="results/{model}/checkpoint",
        layers="results/{model}/layers.tsv",
        utterances="results/{model}/utterances/calibration.tsv",
        channel_scales="results/{model}/channel_scales.safetensors",
    output:
        "results/{model}/weights.safetensors",
    log:
        "logs/{model}/round_weights.log",
    benchmark:
        "results/{model}/benchmarks/round_weights.tsv"
    priority: 50
    conda:
        "../envs/search.yaml"
    resources:
        mem_mb=memory(copies=2),
        runtime=runtime(passes=1, gpu=True),
        gpu=gpus,
    params:
        settings=step("rounding"),
        device=config["device"],
        batch_mb=config["batch_mb"],
        seed=config["seed"],
        code=code_digest("round_weights"),
    script:
        "../scripts/round_weights.py"
