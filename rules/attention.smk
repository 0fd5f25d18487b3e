# Where attention multiplies queries by keys in INT8. Only of models in which this may pay; other models have no such job.
#
# INPUTS   results/{model}/checkpoint/, layers.tsv, utterances/calibration.tsv
# OUTPUTS  results/{model}/attention.tsv   for each layer, what its scores cost in INT8, and whether they are


rule choose_attention:
    """Choose where attention multiplies queries by keys in INT8."""
    input:
        checkpoint="results/{model}/checkpoint",
        layers="results/{model}/layers.tsv",
        utterances="results/{model}/utterances/calibration.tsv",
        checked=ancient("results/{model}/utterances/evaluation.tsv"),
    output:
        "results/{model}/attention.tsv",
    log:
        "logs/{model}/choose_attention.log",
    benchmark:
        "results/{model}/benchmarks/choose_attention.tsv"
    priority: 50
    conda:
        "../envs/search.yaml"
    resources:
        mem_mb=memory(copies=2),
        runtime=runtime(passes=10, gpu=True),
        gpu=gpus,
    params:
        settings=step("attention"),
        device=config["device"],
        batch_mb=config["batch_mb"],
        seed=config["seed"],
        code=code_digest("choose_attention"),
    script:
        "../scripts/choose_attention.py"
