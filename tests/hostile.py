"""Hostile input by the thousand: pieces of it, and a folder with something beside it that must not be reached.

Tests that draw from these want no error but the project's own, no path outside the roots, nothing that is not finite.
Cases are drawn by hypothesis from fixed seeds (``derandomize``), so that a failure comes again.
"""

from pathlib import Path

import numpy as np
import soundfile
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

MANY = settings(max_examples=2000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SOME = settings(MANY, max_examples=300)

PIECES = st.sampled_from(
    [
        *("..", ".", "/", "//", "\\", "\0", "\t", " ", "\n", "\r", '"', ",", "{", "}", "[", "]", ":", "|"),
        *(
            "a.wav",
            "secret.wav",
            "link.wav",
            "outside",
            "inside",
            "clips",
            "\u0660",
            "\uff11",
            "\uff0e\uff0e",
            "\u2025",
            "\u2215",
            "\ufeff",
            "\u2028",
        ),
        *("path", "sentence", "audio_filepath", "text", "400", "-1", "99999999999999999999", "1e9", "NaN", "#", "null"),
    ]
)
TEXT = st.one_of(st.lists(PIECES, max_size=30).map("".join), st.text(max_size=60))

STEPS = st.sampled_from(
    ["..", ".", "", "a.wav", "away", "secret.wav", "outside", "\0", "\u2025", "\uff0e\uff0e", "~", "\\"]
)
PATHS = st.one_of(st.lists(STEPS, min_size=1, max_size=4).map("/".join), TEXT)
DAMAGE = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=20)


def write_inside_and_outside(folder: Path) -> Path:
    """``inside``, the declared root, with a link that leads out of it, and ``outside`` beside it."""
    for name in ("inside", "outside"):
        (folder / name).mkdir()
    tone = np.sin(np.arange(1600) / 5).astype(np.float32)
    for name in ("inside/a.wav", "outside/secret.wav"):
        soundfile.write(folder / name, tone, 16_000)
    (folder / "inside/link.wav").symlink_to(folder / "outside/secret.wav")
    (folder / "inside/away").symlink_to(folder / "outside")
    return folder
