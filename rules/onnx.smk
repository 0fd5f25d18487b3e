# One ONNX graph per method; every engine is built from these files.
#
# INPUTS   results/{model}/checkpoint/, layers.tsv, scales/{method}.json, channel_scales.safetensors,
#          weights.safetensors
# OUTPUTS  results/{model}/onnx/fp32.onnx       nodes named like the modules they compute
#          results/{model}/onnx/*.provenance.json   what each was made of, with what, and how
#          results/{model}/onnx/{method}.onnx   the same graph with quantize/dequantize pairs and INT8 weights


rule export_onnx:
    """Export the recogniser as an fp32 ONNX graph."""
    input:
        checkpoint="results/{model}/checkpoint",
        layers="results/{model}/layers.tsv",
    output:
        "results/{model}/onnx/fp32.onnx",
        provenance="results/{model}/onnx/fp32.provenance.json",
    log:
        "logs/{model}/export_onnx.log",
    benchmark:
        "results/{model}/benchmarks/export_onnx.tsv"
    conda:
        "../envs/search.yaml"
    resources:
        mem_mb=memory(copies=4),
        runtime=runtime(),
    params:
        code=code_digest("export_onnx"),
    script:
        "../scripts/export_onnx.py"


rule insert_qdq:
    """Place one method's scales and the INT8 weights into the fp32 graph."""
    input:
        graph="results/{model}/onnx/fp32.onnx",
        layers="results/{model}/layers.tsv",
        checkpoint="results/{model}/checkpoint",
        scales="results/{model}/scales/{method}.json",
        channel_scales=lambda wildcards: (
            "results/{model}/channel_scales.safetensors" if wildcards.method == "stablequant" else []
        ),
        weights=lambda wildcards: "results/{model}/weights.safetensors" if wildcards.method == "stablequant" else [],
    output:
        "results/{model}/onnx/{method,(?!fp32).*}.onnx",
        provenance="results/{model}/onnx/{method}.provenance.json",
    log:
        "logs/{model}/insert_qdq/{method}.log",
    benchmark:
        "results/{model}/benchmarks/insert_qdq/{method}.tsv"
    conda:
        "../envs/search.yaml"
    resources:
        mem_mb=memory(copies=2),
        runtime=runtime(),
    params:
        code=code_digest("insert_qdq"),
    script:
        "../scripts/insert_qdq.py"
