"""Faults of the machine that the program cannot repair: a full disk, too little memory, a missing package."""

import errno
import os

FAULTS = {
    errno.ENOSPC: "no space is left on the disk; free some, and run again",
    errno.EDQUOT: "the disk quota is used up; free some space, and run again",
    errno.EROFS: "the file system is read-only; make it writable, or run in another folder",
    errno.EACCES: "not permitted; correct the permissions, and run again",
    errno.EIO: "the disk fails; copy the project elsewhere, and run again",
}
OUT_OF_MEMORY = ("not enough memory", "out of memory", "could not create a primitive")  # the last is oneDNN's


def fault_of_the_machine(error: Exception) -> str | None:
    """One sentence that explains ``error`` and names a remedy; None if ``error`` is not a fault of the machine."""
    if isinstance(error, MemoryError) or any(sign in str(error) for sign in OUT_OF_MEMORY):
        return "out of memory; lower 'batch_mb' in the config, or run fewer jobs at once: snakemake --cores 1"
    if isinstance(error, ImportError) and error.name and error.name.partition(".")[0] != "stablequant":
        return f"{error.name}: the package cannot be loaded ({error}); install what requirements.lock lists"
    code = error.errno if isinstance(error, OSError) else None
    if code not in FAULTS:  # C and Rust libraries pass on only the system's message, not its number
        code = next((fault for fault in FAULTS if os.strerror(fault) in str(error)), None)
    if code in FAULTS:
        return f"{getattr(error, 'filename', None) or 'a file of this job'}: {FAULTS[code]}; finished results stay"
    return None
