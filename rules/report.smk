# Plots of what was found; `snakemake --report FILE.html` binds them into one page.
#
# INPUTS   results/{model}/sensitivity.tsv, percentiles.tsv, comparison.tsv
# OUTPUTS  results/{model}/plots/{plot}.svg

PLOTS = ["sensitivity", "percentiles", "comparison"]


rule plot_sensitivity:
    """Degradation of each layer quantized alone, with interval and threshold."""
    input:
        "results/{model}/sensitivity.tsv",
    output:
        report(
            "results/{model}/plots/sensitivity.svg",
            caption="captions/sensitivity.rst",
            category="Sensitivity",
            labels={"model": "{model}"},
        ),
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
        report(
            "results/{model}/plots/percentiles.svg",
            caption="captions/percentiles.rst",
            category="Percentiles",
            labels={"model": "{model}"},
        ),
    log:
        "logs/{model}/plot_percentiles.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        percentiles=config["percentiles"],
        code=code_digest("plot_percentiles"),
    script:
        "../scripts/plot_percentiles.py"


rule plot_comparison:
    """Degradation and size of every method's engine."""
    input:
        "results/{model}/comparison.tsv",
    output:
        report(
            "results/{model}/plots/comparison.svg",
            caption="captions/comparison.rst",
            category="Comparison",
            labels={"model": "{model}"},
        ),
    log:
        "logs/{model}/plot_comparison.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        code=code_digest("plot_comparison"),
    script:
        "../scripts/plot_comparison.py"
