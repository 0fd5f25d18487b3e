# A range for every activation, by the method's own steps or by one of the plain calibrations.
#
# INPUTS   results/{model}/histograms.safetensors, or prepared_histograms.safetensors and combination.json
# OUTPUTS  results/{model}/scales/{method}.json   layer, percentile, range and scale by activation


rule optimise_scales:
    """Choose the range of every activation by one method."""
    input:
        unpack(scales_of_method),
    output:
        "results/{model}/scales/{method}.json",
    log:
        "logs/{model}/optimise_scales/{method}.log",
    benchmark:
        "results/{model}/benchmarks/optimise_scales/{method}.tsv"
    conda:
        "../envs/search.yaml"
    resources:
        mem_mb=memory(copies=0),
        runtime=runtime(),
    params:
        uniform_percentile=lambda wildcards: config["uniform_percentile"] if wildcards.method == "percentile" else None,
        code=code_digest("optimise_scales"),
    script:
        "../scripts/optimise_scales.py"
