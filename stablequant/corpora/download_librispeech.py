"""LibriSpeech from OpenSLR: downloaded, verified against the published checksum, unpacked safely."""

import hashlib
import tarfile
import urllib.request
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

from stablequant.errors import StableQuantError
from stablequant.progress import progress
from stablequant.workflow.jobs import fault_of_the_machine

# https://www.openslr.org/resources/12/md5sum.txt
MD5 = {
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
}
BLOCK = 1 << 20  # bytes read at once
TIMEOUT = 60  # seconds without an answer


def fetch(part: str, mirror: str, md5: str, folder: Path) -> Path:
    """Download ``mirror/part.tar.gz`` and unpack it as ``folder/part``, which appears only when all went well.

    Raises
    ------
    StableQuantError
        when that folder exists already, or the archive cannot be had, has another checksum than ``md5``, or holds more
        than files of that part.
    """
    destination = folder / part
    if destination.exists():
        raise StableQuantError(destination, "the folder is there already", "use it, or remove it to fetch it again")
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".downloading-") as temporary:
        archive = Path(temporary) / f"{part}.tar.gz"
        found = _download(f"{mirror.rstrip('/')}/{archive.name}", archive)
        if found != md5:
            raise StableQuantError(
                f"{mirror}/{archive.name}", f"its MD5 is {found}, not {md5}", "try again or take another mirror"
            )
        unpacked = _unpack(archive, Path(temporary), part)
        unpacked.rename(destination)
    return destination


def _download(url: str, destination: Path) -> str:
    """Save ``url``; return the MD5 of what came."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response, destination.open("wb") as file:
            size = int(response.headers.get("Content-Length") or 0)
            with progress(label=destination.name, total=size // BLOCK) as megabytes:
                while block := response.read(BLOCK):
                    file.write(block)
                    digest.update(block)
                    megabytes.update()
    except (OSError, HTTPException, ValueError) as error:
        if fault_of_the_machine(error):
            raise
        raise StableQuantError(
            url, f"it cannot be downloaded ({error})", "check the network, or set 'librispeech_mirror' in the config"
        ) from error
    return digest.hexdigest()


def _unpack(archive: Path, folder: Path, part: str) -> Path:
    """Unpack ``archive`` below ``folder``; return the part's folder in it, ``LibriSpeech/part``."""
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        if fault_of_the_machine(error):
            raise
        raise StableQuantError(archive.name, f"it cannot be unpacked ({error})", "take another mirror") from error
    unpacked = folder / "LibriSpeech" / part
    if not unpacked.is_dir():
        raise StableQuantError(archive.name, f"there is no LibriSpeech/{part} in it", "take another mirror")
    return unpacked
