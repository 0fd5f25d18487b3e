# What a model's report shows.

PLOTS = ["comparison", "tradeoff", "timeline"]
PLOTS_OF_THE_SEARCH = ["sensitivity", "percentiles", "histograms"]
TABLES = ["comparison.tsv", "hypotheses.tsv", "precision.tsv"]
TABLES_OF_THE_SEARCH = ["sensitivity.tsv", "percentiles.tsv", "combination.tsv", "scales/stablequant.json"]


def plots_of(wildcards):
    """Names of a model's plots. Others that lie beside them are of earlier runs."""
    model = wildcards.model
    of_the_search = PLOTS_OF_THE_SEARCH if model in SEARCHED else []
    return [*PLOTS, *of_the_search, *(["peers"] if "peers" in config["models"][model] else [])]


def reported(wildcards):
    """Plots and tables of a model."""
    results = f"results/{wildcards.model}"
    plots = [f"plots/{plot}.svg" for plot in plots_of(wildcards)]
    tables = TABLES + (TABLES_OF_THE_SEARCH if wildcards.model in SEARCHED else [])
    return [f"{results}/{file}" for file in (*plots, *tables)]
