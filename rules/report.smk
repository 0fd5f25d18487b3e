# The report of a model: one page with the verdict, plots and tables.
#
# INPUTS   what is named below, prepared_histograms.safetensors, logs/{model}/, a model's table of peers
# OUTPUTS  results/{model}/plots/{plot}.svg
#          results/{model}/report.html


rule write_report:
    """One page: the verdict, the plots that show why, and the tables."""
    input:
        reported,
        checkpoint="results/{model}/checkpoint",
        calibration="results/{model}/utterances/calibration.tsv",
        evaluation="results/{model}/utterances/evaluation.tsv",
    output:
        report("results/{model}/report.html", category="Report", labels={"model": "{model}"}),
    log:
        "logs/{model}/write_report.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        note=lambda wildcards: config["models"][wildcards.model].get("note", ""),
        acceptable_loss=config["acceptable_loss"],
        plots=plots_of,
        code=code_digest("write_report"),
    script:
        "../scripts/write_report.py"


rule plot_sensitivity:
    """Degradation of each layer quantized alone, with interval and threshold."""
    input:
        "results/{model}/sensitivity.tsv",
    output:
        "results/{model}/plots/sensitivity.svg",
    log:
        "logs/{model}/plot_sensitivity.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        threshold=config["threshold"],
        code=code_digest("plot_sensitivity"),
    script:
        "../scripts/plot_sensitivity.py"


rule plot_percentiles:
    """WER against the cut-off percentile of each searched layer."""
    input:
        "results/{model}/percentiles.tsv",
    output:
        "results/{model}/plots/percentiles.svg",
    log:
        "logs/{model}/plot_percentiles.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        code=code_digest("plot_percentiles"),
    script:
        "../scripts/plot_percentiles.py"


rule plot_comparison:
    """Degradation and size of every method's engine."""
    input:
        "results/{model}/comparison.tsv",
    output:
        "results/{model}/plots/comparison.svg",
    log:
        "logs/{model}/plot_comparison.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        code=code_digest("plot_comparison"),
    script:
        "../scripts/plot_comparison.py"


rule plot_histograms:
    """Activations of the most sensitive layers, with the ranges that were chosen."""
    input:
        histograms="results/{model}/prepared_histograms.safetensors",
        scales="results/{model}/scales/stablequant.json",
        sensitivity="results/{model}/sensitivity.tsv",
    output:
        "results/{model}/plots/histograms.svg",
    log:
        "logs/{model}/plot_histograms.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        code=code_digest("plot_histograms"),
    script:
        "../scripts/plot_histograms.py"


rule plot_tradeoff:
    """WER of every engine against its size and its speed."""
    input:
        "results/{model}/comparison.tsv",
    output:
        "results/{model}/plots/tradeoff.svg",
    log:
        "logs/{model}/plot_tradeoff.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        code=code_digest("plot_tradeoff"),
    script:
        "../scripts/plot_tradeoff.py"


rule plot_peers:
    """WER of other quantizers' engines of the same model against size and speed; only of a model that has such a table."""
    input:
        lambda wildcards: config["models"][wildcards.model]["peers"],
    output:
        "results/{model}/plots/peers.svg",
    log:
        "logs/{model}/plot_peers.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        code=code_digest("plot_peers"),
    script:
        "../scripts/plot_peers.py"


rule plot_timeline:
    """When the jobs of all runs so far worked; their logs are read."""
    input:
        "results/{model}/comparison.tsv",
    output:
        "results/{model}/plots/timeline.svg",
    log:
        "logs/{model}/plot_timeline.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        code=code_digest("plot_timeline"),
    script:
        "../scripts/plot_timeline.py"
