# Corpora as they lie on disk, and LibriSpeech from the net for those who have none.
#
# INPUTS   the folder that a model's config names as a split
# OUTPUTS  results/{model}/manifests/{split}.tsv    its manifest in fairseq's format
#          resources/LibriSpeech/{part}/            only by `snakemake librispeech`; {part}.md5 says what was verified


rule write_manifest:
    """List the audio of a folder."""
    input:
        lambda wildcards: config["models"][wildcards.model][wildcards.split],
    output:
        "results/{model}/manifests/{split}.tsv",
    log:
        "logs/{model}/write_manifest/{split}.log",
    priority: 100
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        audio=audio_of_split,
        code=code_digest("write_manifest"),
    script:
        "../scripts/write_manifest.py"


rule librispeech:
    """Fetch LibriSpeech's dev-clean and test-clean; nothing else asks for this."""
    input:
        expand("resources/LibriSpeech/{part}.md5", part=["dev-clean", "test-clean"]),


rule download_librispeech:
    """Download one part from OpenSLR, verify and unpack it."""
    output:
        "resources/LibriSpeech/{part,(dev|test)-(clean|other)}.md5",
    log:
        "logs/download_librispeech/{part}.log",
    retries: 3
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        mirror=lambda _wildcards: config["librispeech_mirror"],
        code=code_digest("download_librispeech"),
    script:
        "../scripts/download_librispeech.py"
