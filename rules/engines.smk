# One engine per backend and method, each from that method's one ONNX graph.
#
# INPUTS   results/{model}/onnx/{method}.onnx, checkpoint/, utterances/evaluation.tsv (lengths to tune a plan for)
# OUTPUTS  results/{model}/engines/{backend}/{method}/   the built network, its front end, engine.json


rule build_engine:
    """Build one backend's engine from one ONNX graph."""
    input:
        graph="results/{model}/onnx/{method}.onnx",
        checkpoint="results/{model}/checkpoint",
        utterances="results/{model}/utterances/evaluation.tsv",
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
    params:
        tensorrt=config["tensorrt"],
        code=code_digest("build_engine"),
    script:
        "../scripts/build_engine.py"
