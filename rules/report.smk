# Plots and tables of what was found; `snakemake --report FILE.html` binds them into one page.
#
# INPUTS   what is named below, prepared_histograms.safetensors, logs/{model}/, a model's table of peers
# OUTPUTS  results/{model}/plots/{plot}.svg
#          results/{model}/pages/{page}.html   one sortable table each

HISTOGRAMS = 6  # layers whose activations are shown, at most
PLOTS = ["comparison", "tradeoff", "timeline"]
PLOTS_OF_THE_SEARCH = ["sensitivity", "percentiles", "histograms"]
PAGES = {  # page: (section of the report, what it shows)
    "data": ("Data", ["checkpoint", "utterances/calibration.tsv", "utterances/evaluation.tsv"]),
    "precision": ("Engines", ["precision.tsv"]),
    "comparison": ("Comparison", ["comparison.tsv"]),
    "hypotheses": ("Comparison", ["hypotheses.tsv"]),
}
PAGES_OF_THE_SEARCH = {
    "sensitivity": ("Sensitivity", ["sensitivity.tsv"]),
    "percentiles": ("Percentiles", ["percentiles.tsv"]),
    "combination": ("Percentiles", ["combination.tsv"]),
    "scales": ("Scales", ["scales/stablequant.json"]),
}
TABLES, TABLES_OF_THE_SEARCH = (  # what each page shows, below a model's results
    {page: tables for page, (_, tables) in pages.items()} for pages in (PAGES, PAGES_OF_THE_SEARCH)
)


rule write_pages:
    """Tables that a click on a header sorts."""
    input:
        [f"results/{{model}}/{table}" for tables in TABLES.values() for table in tables],
    output:
        [
            report(
                f"results/{{model}}/pages/{page}.html",
                caption=f"captions/pages/{page}.rst",
                category=section,
                labels={"model": "{model}", "table": page},
            )
            for page, (section, _) in PAGES.items()
        ],
    log:
        "logs/{model}/write_pages.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        tables=TABLES,
        told=page_summaries(TABLES),
        code=code_digest("write_pages"),
    script:
        "../scripts/write_pages.py"


use rule write_pages as write_search_pages with:
    input:
        [f"results/{{model}}/{table}" for tables in TABLES_OF_THE_SEARCH.values() for table in tables],
    output:
        [
            report(
                f"results/{{model}}/pages/{page}.html",
                caption=f"captions/pages/{page}.rst",
                category=section,
                labels={"model": "{model}", "table": page},
            )
            for page, (section, _) in PAGES_OF_THE_SEARCH.items()
        ],
    log:
        "logs/{model}/write_search_pages.log",
    params:
        tables=TABLES_OF_THE_SEARCH,
        told=page_summaries(TABLES_OF_THE_SEARCH),
        code=code_digest("write_pages"),


rule plot_sensitivity:
    """Degradation of each layer quantized alone, with interval and threshold."""
    input:
        "results/{model}/sensitivity.tsv",
    output:
        report(
            "results/{model}/plots/sensitivity.svg",
            caption="captions/sensitivity.rst",
            category="Sensitivity",
            labels={"model": "{model}", "plot": "sensitivity"},
        ),
    log:
        "logs/{model}/plot_sensitivity.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        threshold=config["threshold"],
        selected=not_yet(lambda wildcards, input: captions.layers_selected(Path(input[0]))),
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
            labels={"model": "{model}", "plot": "percentiles"},
        ),
    log:
        "logs/{model}/plot_percentiles.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        chosen=not_yet(lambda wildcards, input: captions.cutoffs_chosen(Path(input[0]))),
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
            labels={"model": "{model}", "plot": "comparison"},
        ),
    log:
        "logs/{model}/plot_comparison.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        lost=not_yet(lambda wildcards, input: captions.points_lost(Path(input[0]))),
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
        report(
            "results/{model}/plots/histograms.svg",
            caption="captions/histograms.rst",
            category="Scales",
            labels={"model": "{model}", "plot": "histograms"},
        ),
    log:
        "logs/{model}/plot_histograms.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        layers=HISTOGRAMS,
        shown=layers_shown,
        code=code_digest("plot_histograms"),
    script:
        "../scripts/plot_histograms.py"


rule plot_tradeoff:
    """WER of every engine against its size and its speed."""
    input:
        "results/{model}/comparison.tsv",
    output:
        report(
            "results/{model}/plots/tradeoff.svg",
            caption="captions/tradeoff.rst",
            category="Comparison",
            labels={"model": "{model}", "plot": "tradeoff"},
        ),
    log:
        "logs/{model}/plot_tradeoff.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        lost=not_yet(lambda wildcards, input: captions.points_lost(Path(input[0]))),
        code=code_digest("plot_tradeoff"),
    script:
        "../scripts/plot_tradeoff.py"


rule plot_peers:
    """WER of other quantizers' engines of the same model against size and speed; only of a model that has such a table."""
    input:
        lambda wildcards: config["models"][wildcards.model]["peers"],
    output:
        report(
            "results/{model}/plots/peers.svg",
            caption="captions/peers.rst",
            category="Comparison",
            labels={"model": "{model}", "plot": "peers"},
        ),
    log:
        "logs/{model}/plot_peers.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        lost=not_yet(lambda wildcards, input: captions.points_lost_by_peers(Path(input[0]), wildcards.model)),
        failed=not_yet(lambda wildcards, input: captions.failed_peers(Path(input[0]), wildcards.model)),
        code=code_digest("plot_peers"),
    script:
        "../scripts/plot_peers.py"


rule plot_timeline:
    """When the jobs of the run worked; their logs are read."""
    input:
        "results/{model}/comparison.tsv",
    output:
        report(
            "results/{model}/plots/timeline.svg",
            caption="captions/timeline.rst",
            category="Engines",
            labels={"model": "{model}", "plot": "timeline"},
        ),
    log:
        "logs/{model}/plot_timeline.log",
    localrule: True
    conda:
        "../envs/search.yaml"
    params:
        code=code_digest("plot_timeline"),
    script:
        "../scripts/plot_timeline.py"
