"""LibriSpeech from OpenSLR: downloaded, verified against the published checksum, unpacked safely."""

import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pooch
from tqdm import tqdm

from stablequant.errors import StableQuantError
from stablequant.faults import fault_of_the_machine
from stablequant.progress import progress

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
        url = f"{mirror.rstrip('/')}/{archive.name}"
        _download(url, archive)
        found = pooch.file_hash(archive, alg="md5")
        if found != md5:
            raise StableQuantError(url, f"its MD5 is {found}, not {md5}", "try again or take another mirror")
        unpacked = _unpack(archive, Path(temporary), part)
        unpacked.rename(destination)
    return destination


class Megabytes:
    """Progress in the form that pooch reports it: ``total`` and `update` are told bytes."""

    def __init__(self, bar: tqdm) -> None:
        self._bar = bar

    @property
    def total(self) -> int:
        return BLOCK * int(self._bar.total or 0)

    @total.setter
    def total(self, size: int) -> None:
        self._bar.total = size // BLOCK or None  # None where the server does not say it

    def update(self, size: int) -> None:
        self._bar.update(size // BLOCK)

    def reset(self) -> None:
        """Count from 0, as pooch does at the end before it updates by the total."""
        self._bar.n = 0

    def close(self) -> None:
        self._bar.close()


def _download(url: str, destination: Path) -> None:
    with progress(label=destination.name) as bar:
        download = pooch.HTTPDownloader(progressbar=Megabytes(bar), chunk_size=BLOCK, timeout=TIMEOUT)
        try:
            download(url, str(destination), None)
        except (OSError, ValueError) as error:  # requests' own errors are of these kinds
            if fault_of_the_machine(error):
                raise
            remedy = "check the network, or set 'librispeech_mirror' in the config"
            raise StableQuantError(url, f"it cannot be downloaded ({error})", remedy) from error


def _unpack(archive: Path, folder: Path, part: str) -> Path:
    """Unpack ``archive`` below ``folder``; return the part's folder in it, ``LibriSpeech/part``.

    pooch's own Untar passes no filter before Python 3.12: an archive could then write elsewhere.
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
