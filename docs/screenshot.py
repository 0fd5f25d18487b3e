"""A picture of the report in a browser: ``python docs/screenshot.py results/demo/report.html docs/report.png``.

Chromium must be installed.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTH, HEIGHT = 1400, 1310


def chromium() -> str | None:
    """The browser's program, if it is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def take(page: Path, picture: Path, height: int, dark: bool) -> None:
    """Write ``picture``, a PNG of the upper part of ``page``."""
    browser = chromium()
    if browser is None:
        sys.exit("Chromium is not installed (Debian: chromium)")
    with tempfile.TemporaryDirectory() as folder:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        command += [f"--user-data-dir={folder}/profile", "--virtual-time-budget=5000"]
        command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
        command += [f"--window-size={WIDTH},{height}", f"--screenshot={picture.resolve()}", page.resolve().as_uri()]
        picture.unlink(missing_ok=True)
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if not picture.is_file():
        sys.exit(f"{browser} took no picture: {done.stderr}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, help="the report, or another HTML page")
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument("--height", type=int, default=HEIGHT, help=f"pixels of the page that are shown ({HEIGHT})")
    parser.add_argument("--dark", action="store_true", help="as in a browser in dark mode")
    arguments = parser.parse_args()
    take(arguments.page, arguments.picture, arguments.height, arguments.dark)


if __name__ == "__main__":
    main()
