# Channels that reach far beyond the rest of their activation: scaled down, or carried as two INT8 numbers, where it pays.
#
# INPUTS   results/{model}/checkpoint/, layers.tsv, utterances/calibration.tsv, equalisation.safetensors
# OUTPUTS  results/{model}/channel_scales.safetensors   scales of the channels by activation, those of the equalisation
#                                                       but where massive channels changed them
#          results/{model}/carried_channels.json        channels that are carried, by activation
#          results/{model}/massive_channels.tsv         what was chosen for each activation, and what it costs


rule choose_massive_channels:
    """Choose how channels are quantized that reach far beyond the rest of their activation."""
    input:
        checkpoint="results/{model}/checkpoint",
        layers="results/{model}/layers.tsv",
        utterances="results/{model}/utterances/calibration.tsv",
        equalisation="results/{model}/equalisation.safetensors",
    output:
        channel_scales="results/{model}/channel_scales.safetensors",
        carried="results/{model}/carried_channels.json",
        table="results/{model}/massive_channels.tsv",
    log:
        "logs/{model}/choose_massive_channels.log",
    benchmark:
        "results/{model}/benchmarks/choose_massive_channels.tsv"
    priority: 50
    conda:
        "../envs/search.yaml"
    resources:
        mem_mb=memory(copies=2),
        runtime=runtime(passes=10, gpu=True),
        gpu=gpus,
    params:
        settings=massive_channels,
        device=config["device"],
        batch_mb=config["batch_mb"],
        seed=config["seed"],
        code=code_digest("choose_massive_channels"),
    script:
        "../scripts/choose_massive_channels.py"
