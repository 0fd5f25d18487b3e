"""What torch's restricted unpickler says, in a sentence."""

import re


def refusal(error: Exception) -> str:
    """Why a file of tensors was not read, without torch's advice to read it unrestricted."""
    message = " ".join(str(error).split())
    reason = message.rpartition("WeightsUnpickler error: ")[2].partition(" Check the documentation")[0]
    wanted = re.search(r"(?:GLOBAL|built-in function|function|class) '?([\w.]+)", reason)
    if wanted and ("GLOBAL" in reason or "unrecognized function" in reason):
        return f"it asks for {wanted[1]}, which could run code"
    return f"not readable ({reason.partition(' This file can still be loaded')[0][:200]})"
