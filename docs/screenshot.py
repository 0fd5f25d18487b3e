"""A picture of the report as a browser shows it: ``python docs/screenshot.py results/report.html docs/report.png``.

Chromium opens a copy of the page at a section's first result. It must be installed.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTH, HEIGHT = 1300, 760
# Appended to the copy: opens the section and then its first plot.
OPEN = """
<script>
(async () => {
  const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));
  await pause(3000);
  [...document.querySelectorAll("a, span")].filter(e => e.textContent.trim() === SECTION).pop().click();
  await pause(500);
  document.querySelector("tr a[iconname=eye]").click();  // else the picture shows where it stopped
})();
</script>
"""


def chromium() -> str | None:
    """The browser's program, if it is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def take(report: Path, section: str, picture: Path) -> None:
    """Write ``picture``, a PNG of ``report`` opened at ``section``."""
    browser = chromium()
    if browser is None:
        sys.exit("Chromium is not installed (Debian: chromium)")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(report.read_text(encoding="utf-8") + OPEN.replace("SECTION", json.dumps(section)))
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        command += [f"--user-data-dir={folder}/profile", "--virtual-time-budget=10000"]
        command += [f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={picture.resolve()}", page.as_uri()]
        picture.unlink(missing_ok=True)
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if not picture.is_file():
        sys.exit(f"{browser} took no picture: {done.stderr}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="what `snakemake --report` wrote")
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument("--section", default="Sensitivity", help="of the report (Sensitivity)")
    arguments = parser.parse_args()
    take(arguments.report, arguments.section, arguments.picture)


if __name__ == "__main__":
    main()
