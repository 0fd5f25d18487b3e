"""JSON files, edited."""

import json
from pathlib import Path


def edit(file: Path, **changes) -> None:
    """Set entries of an object in a file, which is made if it is missing; those that are ``"absent"`` are removed."""
    content = (json.loads(file.read_text()) if file.is_file() else {}) | changes
    file.write_text(json.dumps({key: value for key, value in content.items() if value != "absent"}))
