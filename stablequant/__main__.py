"""`python -m stablequant` is the command line."""

from stablequant.bundle.write_bundle.cli import main

main()
