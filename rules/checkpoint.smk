# The checkpoint in the one layout that all later stages read.
#
# INPUTS   the checkpoint: a folder in Hugging Face layout, a fairseq file, or owner/name on the hub
# OUTPUTS  results/{model}/download.json   of one on the hub: its exact revision, its size and its config.json; its files
#                                          lie in the hub's cache
#          results/{model}/checkpoint/     config.json, model.safetensors (fp32), vocab.json, tokenizer_config.json,
#                                          preprocessor_config.json
#          results/{model}/layers.tsv      every quantized module and the layer it belongs to


rule download_checkpoint:
    """Download the checkpoint from the hub."""
    output:
        "results/{model}/download.json",
    log:
        "logs/{model}/download_checkpoint.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        source=lambda wildcards: config["models"][wildcards.model]["checkpoint"],
        language=language,
        heads=heads_by_kind(),
        code=code_digest("download_checkpoint"),
    script:
        "../scripts/download_checkpoint.py"


checkpoint import_checkpoint:
    """Import the checkpoint and list its layers; from here on the jobs of each layer are known."""
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
        source=checkpoint_source,
        language=language,
        files=lambda wildcards: fingerprint(checkpoint_files(wildcards)),
        code=code_digest("import_checkpoint"),
    script:
        "../scripts/import_checkpoint.py"
