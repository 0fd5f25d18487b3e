"""Plot WER against size and speed of one model's engines by other quantizers."""

from pathlib import Path

from stablequant.errors import StableQuantError
from stablequant.report.plot_peers import COLUMNS, plot_peers
from stablequant.storage.files import read_table
from stablequant.workflow.jobs import job

with job(snakemake.log[0]):
    file, model = Path(snakemake.input[0]), snakemake.wildcards.model
    table = read_table(file, text=("model", "method"))
    if missing := [column for column in COLUMNS if column not in table]:
        raise StableQuantError(file, f"no column {', '.join(missing)}", "give a table of benchmarks/peers.py")
    own = table[table["model"] == model]
    if "fp32" not in set(own["method"]):
        remedy = f"measure it with benchmarks/peers.py, or leave out models: {model}: peers"
        raise StableQuantError(file, f"it has no fp32 row of the model '{model}'", remedy)
    plot_peers(own, Path(snakemake.output[0]))
