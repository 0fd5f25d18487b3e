# The checkpoint in the one layout that all later stages read.
#
# INPUTS   the checkpoint: a folder in Hugging Face layout, a fairseq file, or nothing local for one on the hub
# OUTPUTS  results/{model}/checkpoint/   config.json, model.safetensors (fp32), vocab.json, tokenizer_config.json,
#                                        preprocessor_config.json
#          results/{model}/layers.tsv    every quantized module and the layer it belongs to


rule import_checkpoint:
    """Import the checkpoint and list its layers."""
    input:
        checkpoint_files,
    output:
        checkpoint=directory("results/{model}/checkpoint"),
        layers="results/{model}/layers.tsv",
    log:
        "logs/{model}/import_checkpoint.log",
    benchmark:
        "results/{model}/benchmarks/import_checkpoint.tsv"
    conda:
        "../envs/search.yaml"
    resources:
        mem_mb=memory(copies=2),
        runtime=runtime(),
    params:
        source=lambda wildcards: config["models"][wildcards.model]["checkpoint"],
        layers=lambda wildcards: LAYERS[wildcards.model],
        files=lambda wildcards: fingerprint(checkpoint_files(wildcards)),
        code=code_digest("import_checkpoint"),
    script:
        "../scripts/import_checkpoint.py"
