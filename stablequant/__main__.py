"""`python -m stablequant` is the command line."""

from stablequant.cli import main

main()
