# What fp32 makes of the calibration set, in one pass.
#
# INPUTS   results/{model}/checkpoint/, layers.tsv, utterances/calibration.tsv, channel_scales.safetensors,
#          carried_channels.json, attention.tsv where there is one; the evaluation split only has to be known good
#          before long work starts, so it is ancient here
# OUTPUTS  results/{model}/reference.json           WER, words and hypotheses
#          results/{model}/posteriors.safetensors   log posteriors by utterance
#          results/{model}/histograms.safetensors   magnitudes of every quantized module's input
#          results/{model}/prepared_histograms.safetensors   the same inputs as the search quantizes them: equalised,
#                                                   without carried channels, and with their signs where the range
#                                                   may lie around another centre than 0; and queries and keys
#          results/{model}/hidden_values.json       what hidden_values/ beside it holds: hidden values that probes and
#                                                   searches resume from, until gather_percentiles removes them


rule recognise_reference:
    """Recognise the calibration set in fp32, once for all that is measured against it."""
    input:
        checkpoint="results/{model}/checkpoint",
        layers="results/{model}/layers.tsv",
        utterances="results/{model}/utterances/calibration.tsv",
        channel_scales="results/{model}/channel_scales.safetensors",
        carried="results/{model}/carried_channels.json",
        attention=attention_of_model,
        checked=ancient("results/{model}/utterances/evaluation.tsv"),
    output:
        summary="results/{model}/reference.json",
        posteriors="results/{model}/posteriors.safetensors",
        histograms="results/{model}/histograms.safetensors",
        prepared="results/{model}/prepared_histograms.safetensors",
        hidden_values="results/{model}/hidden_values.json",
    log:
        "logs/{model}/recognise_reference.log",
    benchmark:
        "results/{model}/benchmarks/recognise_reference.tsv"
    priority: 50
    conda:
        "../envs/search.yaml"
    resources:
        mem_mb=memory(copies=1),
        runtime=runtime(passes=reference_passes, gpu=True),
        gpu=gpus,
        disk_mb=lambda wildcards: config["cache"]["disk_mb"] if wildcards.model in SEARCHED else 0,  # no parameter: in float32 results do not depend on it, so a change reruns nothing
    params:
        device=config["device"],
        precision=config["precision"],
        max_wer=lambda wildcards, input: config["max_reference_wer"],  # it reads `input` in name only: Snakemake does not compare such parameters, so another limit reruns nothing
        batch_mb=config["batch_mb"],
        # Named inside, since Snakemake sees a change in the set of all values, which True and False hardly change.
        switches=lambda wildcards: {
            "half": config["cache"]["half"],
            "recentre": procedure(wildcards).recentre,
            "split_audio": procedure(wildcards).split_audio,
            "raced": CONFIDENCE is not None,
        },
        half_mb=config["cache"]["disk_mb"] if config["cache"]["half"] else None,  # where values are rounded it matters which are kept
        seed=config["seed"],
        code=code_digest("recognise_reference"),
    script:
        "../scripts/recognise_reference.py"
