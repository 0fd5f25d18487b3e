"""Parameters that are known only once earlier jobs have ended. The Snakefile imports this module while it is parsed."""

import errno
from collections.abc import Callable, Sequence
from typing import TypeVar

from stablequant.errors import StableQuantError

Wildcards = TypeVar("Wildcards")
Input = TypeVar("Input", bound=Sequence[str])
Value = TypeVar("Value")


def not_yet(read: Callable[[Wildcards, Input], Value]) -> Callable[[Wildcards, Input], Value]:
    """``read(wildcards, input)`` as a parameter of a rule.

    Snakemake asks for a parameter also before the input is made, and takes a FileNotFoundError that names an input for
    "not yet". So what ``read`` raises while its files are not there, or are of another kind, becomes such an error.
    """

    def asked(wildcards: Wildcards, input: Input) -> Value:
        try:
            return read(wildcards, input)
        except (OSError, KeyError, ValueError, StableQuantError) as error:
            raise FileNotFoundError(errno.ENOENT, str(error), input[0]) from error

    return asked
