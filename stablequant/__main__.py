"""`python -m stablequant` runs the command line."""

from stablequant.bundle.cli import main

main()
