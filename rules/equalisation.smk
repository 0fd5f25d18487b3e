# The channels of every activation brought to similar ranges, so that one scale fits them all.
#
# INPUTS   results/{model}/checkpoint/, layers.tsv, utterances/calibration.tsv
# OUTPUTS  results/{model}/equalisation.safetensors   scales of the channels by activation; none where `procedure` is paper


rule equalise_channels:
    """Find the scales that bring the channels of every activation to similar ranges."""
    input:
        checkpoint="results/{model}/checkpoint",
        layers="results/{model}/layers.tsv",
        utterances="results/{model}/utterances/calibration.tsv",
        checked=ancient("results/{model}/utterances/evaluation.tsv"),
    output:
        "results/{model}/equalisation.safetensors",
    log:
        "logs/{model}/equalise_channels.log",
    benchmark:
        "results/{model}/benchmarks/equalise_channels.tsv"
    priority: 50
    conda:
        "../envs/search.yaml"
    resources:
        mem_mb=memory(copies=1),
        runtime=runtime(passes=1, gpu=True),
        gpu=gpus,
    params:
        settings=step("equalisation"),
        device=config["device"],
        batch_mb=config["batch_mb"],
        seed=config["seed"],
        code=code_digest("equalise_channels"),
    script:
        "../scripts/equalise_channels.py"
