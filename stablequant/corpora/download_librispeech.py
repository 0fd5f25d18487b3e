"""Download LibriSpeech from OpenSLR, verify it against the published checksum, and unpack it safely."""

import shutil
import tarfile
from pathlib import Path

import pooch
from tqdm import tqdm

from stablequant.errors import StableQuantError
from stablequant.faults import fault_of_the_machine
from stablequant.progress import progress
from stablequant.storage.files import replacing_folder
from stablequant.storage.locks import locked

# https://www.openslr.org/resources/12/md5sum.txt
MD5 = {
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
}
BLOCK = 1 << 20  # bytes read at once
TIMEOUT = 60  # seconds without an answer from the server


def fetch(part: str, mirror: str, md5: str, folder: Path) -> Path:
    """Download ``mirror/part.tar.gz``, unpack it as ``folder/part``, and return that folder.

    The folder appears only when everything succeeded. A second process that fetches the same part waits for the first.

    Raises
    ------
    StableQuantError
        when that folder already exists, or when the archive cannot be downloaded or unpacked, has another checksum than
        ``md5``, or does not contain the part.
    """
    destination = folder / part
    if destination.exists():
        raise StableQuantError(destination, "the folder already exists", "use it, or remove it to fetch it again")
    with locked(destination):
        if destination.exists():  # another process fetched it while this one waited for the lock
            return destination
        with replacing_folder(destination) as making:
            archive = making.parent / f"{part}.tar.gz"
            url = f"{mirror.rstrip('/')}/{archive.name}"
            _download(url, archive)
            found = pooch.file_hash(archive, alg="md5")
            if found != md5:
                raise StableQuantError(url, f"its MD5 is {found}, not {md5}", "try again or take another mirror")
            unpacked = _unpack(archive, making.parent, part)
            shutil.rmtree(making)
            unpacked.rename(making)
    return destination


class Megabytes:
    """A progress bar in megabytes with the interface that pooch expects: pooch sets and reads bytes."""

    def __init__(self, bar: "tqdm[None]") -> None:
        self._bar = bar

    @property
    def total(self) -> int:
        """Size of the download in bytes."""
        return BLOCK * int(self._bar.total or 0)

    @total.setter
    def total(self, size: int) -> None:
        self._bar.total = size // BLOCK or None  # None if the server does not give the size

    def update(self, size: int) -> None:
        """Advance by ``size`` bytes."""
        self._bar.update(size // BLOCK)

    def reset(self) -> None:
        """Start again at 0. At the end pooch calls this and then updates by the total."""
        self._bar.n = 0

    def close(self) -> None:
        """Close the bar."""
        self._bar.close()


def _download(url: str, destination: Path) -> None:
    with progress(label=destination.name) as bar:
        download = pooch.HTTPDownloader(progressbar=Megabytes(bar), chunk_size=BLOCK, timeout=TIMEOUT)
        try:
            download(url, str(destination), None)
        except (OSError, ValueError) as error:  # the errors of requests are subclasses of these
            if fault_of_the_machine(error):
                raise
            remedy = "check the network, or set 'librispeech_mirror' in the config"
            raise StableQuantError(url, f"it cannot be downloaded ({error})", remedy) from error


def _unpack(archive: Path, folder: Path, part: str) -> Path:
    """Unpack ``archive`` below ``folder`` and return the folder ``LibriSpeech/part`` in it.

    pooch's Untar is not used: before Python 3.12 it passes no filter, and an archive could write outside ``folder``.
    """
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
