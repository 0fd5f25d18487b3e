# How long a run will take; only `stablequant quantize` asks for this.
#
# INPUTS   results/{model}/checkpoint/, utterances/calibration.tsv
# OUTPUTS  results/{model}/speed.json   seconds of one pass over the calibration split, from a short timed one


rule measure_speed:
    """Time the recogniser on a little audio."""
    input:
        checkpoint="results/{model}/checkpoint",
        utterances="results/{model}/utterances/calibration.tsv",
    output:
        "results/{model}/speed.json",
    log:
        "logs/{model}/measure_speed.log",
    priority: 100
    conda:
        "../envs/search.yaml"
    resources:
        mem_mb=memory(copies=1),
        runtime=runtime(),
        gpu=gpus,
    params:
        device=config["device"],
        batch_mb=config["batch_mb"],
        seed=config["seed"],
        code=code_digest("measure_speed"),
    script:
        "../scripts/measure_speed.py"
