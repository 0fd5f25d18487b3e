# Which layers lose too many words when quantized alone: one job per layer, then a gathering that decides what follows.
# With `search: screened` a minute of audio says which layers diverge most, and those alone are recognised, in rounds,
# until several in a row lose clearly less than the threshold.
#
# INPUTS   results/{model}/checkpoint/, layers.tsv, utterances/calibration.tsv, channel_scales.safetensors,
#          weights.safetensors, what recognise_reference wrote
# OUTPUTS  results/{model}/screen.json                 divergence of each layer on the audio of the screen
#          results/{model}/probe_plans/{round}.json    layers to recognise, and whether all were; the next round follows
#                                                      where not
#          results/{model}/sensitivity/{layers}.json   WER, degradation with its interval, errors and divergence by
#                                                      utterance, of the one layer it is named by, or of all from one
#                                                      to another
#          results/{model}/sensitivity.tsv             one row per layer; `selected` where above the threshold


rule screen_layers:
    """Measure the divergence of each layer, quantized alone, on a little of the calibration audio."""
    input:
        checkpoint="results/{model}/checkpoint",
        layers="results/{model}/layers.tsv",
        utterances="results/{model}/utterances/calibration.tsv",
        summary="results/{model}/reference.json",
        posteriors="results/{model}/posteriors.safetensors",
        histograms="results/{model}/prepared_histograms.safetensors",
        channel_scales="results/{model}/channel_scales.safetensors",
        weights="results/{model}/weights.safetensors",
    output:
        "results/{model}/screen.json",
    log:
        "logs/{model}/screen_layers.log",
    benchmark:
        "results/{model}/benchmarks/screen_layers.tsv"
    priority: 40
    conda:
        "../envs/search.yaml"
    resources:
        mem_mb=memory(copies=2),
        runtime=runtime(passes=10, gpu=True),
        gpu=gpus,
    params:
        audio_seconds=config["screening"]["audio_seconds"],
        device=config["device"],
        batch_mb=config["batch_mb"],
        seed=config["seed"],
        code=code_digest("screen_layers"),
    script:
        "../scripts/screen_layers.py"


checkpoint plan_probes:
    """Choose the layers that are recognised in full, from their divergence and the words lost so far."""
    input:
        screen="results/{model}/screen.json",
        probes=probes_before,
    output:
        "results/{model}/probe_plans/{round}.json",
    log:
        "logs/{model}/plan_probes/{round}.log",
    priority: 40
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        threshold=config["threshold"],
        in_a_row=config["screening"]["in_a_row"],
        code=code_digest("plan_probes"),
    script:
        "../scripts/plan_probes.py"


rule probe_layer:
    """Recognise the calibration set with a layer quantized to its largest values, one layer after the other."""
    input:
        checkpoint="results/{model}/checkpoint",
        layers="results/{model}/layers.tsv",
        utterances="results/{model}/utterances/calibration.tsv",
        summary="results/{model}/reference.json",
        posteriors="results/{model}/posteriors.safetensors",
        histograms="results/{model}/prepared_histograms.safetensors",
        channel_scales="results/{model}/channel_scales.safetensors",
        weights="results/{model}/weights.safetensors",
        hidden_values="results/{model}/hidden_values.json",
    output:
        "results/{model}/sensitivity/{layers}.json",
    log:
        "logs/{model}/probe_layer/{layers}.log",
    benchmark:
        "results/{model}/benchmarks/probe_layer/{layers}.tsv"
    priority: 40
    conda:
        "../envs/search.yaml"
    resources:
        mem_mb=memory(copies=2 if LAYERS_PER_JOB > 1 else 1),
        runtime=runtime(passes=LAYERS_PER_JOB, gpu=True),
        gpu=gpus,
    params:
        device=config["device"],
        batch_mb=config["batch_mb"],
        layers=probed_layers,
        threshold=config["threshold"] if CONFIDENCE else None,  # only racing stops at it
        confidence=CONFIDENCE,
        seed=config["seed"],
        code=code_digest("probe_layer"),
    script:
        "../scripts/probe_layer.py"


checkpoint select_layers:
    """Gather the degradations and select the layers above the threshold."""
    input:
        probes=probes,
        screen=screen_of_model,
    output:
        "results/{model}/sensitivity.tsv",
    log:
        "logs/{model}/select_layers.log",
    priority: 40
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        threshold=config["threshold"],
        code=code_digest("select_layers"),
    script:
        "../scripts/select_layers.py"
