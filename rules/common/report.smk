# What a model's report shows.

PLOTS = ["comparison", "tradeoff", "timeline"]
PLOTS_OF_THE_SEARCH = ["sensitivity", "percentiles", "histograms"]
TABLES = ["comparison.tsv", "hypotheses.tsv", "precision.tsv"]
TABLES_OF_THE_SEARCH = ["sensitivity.tsv", "percentiles.tsv", "combination.tsv", "scales/stablequant.json"]


def reported(wildcards):
    """Plots and tables of a model."""
    model, results = wildcards.model, f"results/{wildcards.model}"
    searched = model in SEARCHED
    plots = (
        PLOTS + (PLOTS_OF_THE_SEARCH if searched else []) + (["peers"] if "peers" in config["models"][model] else [])
    )
    tables = TABLES + (TABLES_OF_THE_SEARCH if searched else [])
    return [*(f"{results}/plots/{plot}.svg" for plot in plots), *(f"{results}/{table}" for table in tables)]
