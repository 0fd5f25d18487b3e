"""The methods that choose the range of every activation: each becomes a row of the comparison."""

METHODS = ("fp32", "max", "percentile", "entropy", "mse", "stablequant")  # in the order of the rows
