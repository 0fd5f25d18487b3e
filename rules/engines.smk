# One engine per backend and method, each from that method's one ONNX graph.
#
# INPUTS   results/{model}/onnx/{method}.onnx, scales/{method}.json and layers.tsv (what is to be INT8), checkpoint/,
#          utterances/ of both splits (lengths to build a plan for)
# OUTPUTS  results/{model}/engines/{backend}/{method}/   the built network, its front end, engine.json, precision.tsv
#          results/{model}/precision.tsv                 in which precision each layer of each engine runs


rule build_engine:
    """Build one backend's engine from one ONNX graph."""
    input:
        graph="results/{model}/onnx/{method}.onnx",
        layers="results/{model}/layers.tsv",
        scales=lambda wildcards: [] if wildcards.method == "fp32" else "results/{model}/scales/{method}.json",
        checkpoint="results/{model}/checkpoint",
        utterances=lengths_to_tune_for,
    output:
        directory("results/{model}/engines/{backend}/{method}"),
    log:
        "logs/{model}/build_engine/{backend}/{method}.log",
    benchmark:
        "results/{model}/benchmarks/build_engine/{backend}/{method}.tsv"
    conda:
        "../envs/engines.yaml"
    resources:
        mem_mb=memory(copies=3),
        runtime=runtime(),
        gpu=gpu_to_build,
    params:
        settings=backend_settings,
        code=code_digest("build_engine"),
    script:
        "../scripts/build_engine.py"


rule compare_precisions:
    """Gather in which precision the layers of all engines run."""
    input:
        of_each_engine("results/{model}/engines/{backend}/{method}"),
    output:
        "results/{model}/precision.tsv",
    log:
        "logs/{model}/compare_precisions.log",
    localrule: True
    conda:
        "../envs/engines.yaml"
    params:
        code=code_digest("compare_precisions"),
    script:
        "../scripts/compare_precisions.py"
