"""Judge a random sample of mutmut's mutants, and print what share of them the unit tests kill.

All of them take an hour and more (`make mutants`); `make mutants SAMPLE=400` takes minutes. The sample depends on the
code alone.
"""

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

MUTMUT = [".venv-mutation/bin/mutmut", "run"]
SURVIVED = 0  # exit status of the tests
FIRST = "stablequant.quantization.equalised.*"  # judged to let mutmut write all mutants


def verdicts() -> dict[str, int | None]:
    """Exit status of the tests by the mutant's name; None if it was not judged."""
    found: dict[str, int | None] = {}
    for file in sorted(Path("mutants/stablequant").rglob("*.meta")):
        found |= json.loads(file.read_text())["exit_code_by_key"]
    return found


def main() -> None:
    if not verdicts():
        subprocess.run([*MUTMUT, FIRST], check=True)
    names = sorted(verdicts())
    sample = random.Random(0).sample(names, min(int(sys.argv[1]), len(names)))
    subprocess.run([*MUTMUT, *sample], check=True)
    judged = {name: verdicts()[name] for name in sample}
    for package in ("quantization", "search"):
        own = Counter(code == SURVIVED for name, code in judged.items() if name.split(".")[1] == package)
        print(f"{package}: {own[False]} of {own.total()} killed, {100 * own[False] / own.total():.1f} %")
    survivors = [name for name, code in judged.items() if code == SURVIVED]
    killed = len(judged) - len(survivors)
    print(f"together: {killed} of {len(judged)} killed, {100 * killed / len(judged):.1f} %; of {len(names)} mutants")
    print("survived:", *survivors, sep="\n")


if __name__ == "__main__":
    main()
