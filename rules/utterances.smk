# What of a manifest can be recognised and scored. Runs early, so that faulty data stops the run before long work.
#
# INPUTS   tsv/*.tsv or results/{model}/manifests/{split}.tsv, its audio and the files beside it that belong to it
# OUTPUTS  results/{model}/utterances/{split}.tsv            one row per utterance, see corpora/utterance.py
#          results/{model}/utterances/{split}.rejected.tsv   line, path, reason; a log, so it outlives a failed job


rule list_utterances:
    """Decode the utterances of the split and join them with their transcripts."""
    input:
        manifest=manifest_files,
        checkpoint="results/{model}/checkpoint",
    output:
        utterances="results/{model}/utterances/{split}.tsv",
    log:
        messages="logs/{model}/list_utterances/{split}.log",
        rejected="results/{model}/utterances/{split}.rejected.tsv",
    benchmark:
        "results/{model}/benchmarks/list_utterances/{split}.tsv"
    priority: 100
    conda:
        "../envs/search.yaml"
    resources:
        mem_mb=memory(copies=0),
        runtime=runtime(),
    params:
        audio=audio_of_split,
        audio_root=audio_root,
        max_rejected=config["max_rejected"],
        part=part_of_split,
        code=code_digest("list_utterances"),
    script:
        "../scripts/list_utterances.py"
