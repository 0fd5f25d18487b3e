"""The download of LibriSpeech against a server on loopback: verified, unpacked safely, all or nothing."""

import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from checkout import PROJECT
from listing import write_speech

from stablequant.corpora import download_librispeech
from stablequant.corpora.download_librispeech import MD5, fetch
from stablequant.corpora.write_manifest import manifest_of
from stablequant.errors import StableQuantError
from stablequant.faults import fault_of_the_machine
from stablequant.storage.locks import locked


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder; what lies below ``cut/`` is promised longer than it is, below ``silent/`` nothing comes."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.startswith("/silent/"):
            time.sleep(2)
        else:
            super().do_GET()

    def send_header(self, keyword: str, value: str) -> None:
        longer = keyword == "Content-Length" and self.path.startswith("/cut/")
        super().send_header(keyword, str(int(value) + 1) if longer else value)


@pytest.fixture
def mirror(tmp_path):
    """A folder and the address it is served at."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def publish(folder: Path, tmp_path: Path) -> str:
    """An archive as OpenSLR packs it; returns its MD5."""
    write_speech(tmp_path / "made/LibriSpeech/dev-clean", tmp_path / "unused.tsv", 3)
    with tarfile.open(folder / "dev-clean.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "made/LibriSpeech", "LibriSpeech")
    return md5_of(folder)


def md5_of(folder: Path) -> str:
    return hashlib.md5((folder / "dev-clean.tar.gz").read_bytes()).hexdigest()


def test_a_part_is_fetched_verified_and_listed(tmp_path, mirror):
    folder, url = mirror
    md5 = publish(folder, tmp_path)
    part = fetch("dev-clean", url, md5, tmp_path / "LibriSpeech")
    assert part == tmp_path / "LibriSpeech/dev-clean"
    assert manifest_of(part).count("\n") == 4
    left = {file.name for file in (tmp_path / "LibriSpeech").iterdir()}
    assert left == {"dev-clean", ".dev-clean.lock"}, "left something behind"
    (part / "kept").touch()
    with pytest.raises(StableQuantError, match=r"LibriSpeech/dev-clean: the folder already exists"):
        fetch("dev-clean", url, md5, tmp_path / "LibriSpeech")
    assert (part / "kept").exists(), "somebody's corpus was replaced"


FETCH = """
import sys
from pathlib import Path
from stablequant.corpora.download_librispeech import fetch
fetch("dev-clean", "http://127.0.0.1:9", "", Path(sys.argv[1]))
"""


def test_two_processes_do_not_fetch_the_same_part_at_once(tmp_path):
    """The second waits, and takes what the first has fetched; it has no server to ask."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    with locked(tmp_path / "dev-clean"):
        second = subprocess.Popen([sys.executable, "-c", FETCH, str(tmp_path)], env=environment)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(timeout=2)
        (tmp_path / "dev-clean").mkdir()
    assert second.wait(timeout=20) == 0


def refused(tmp_path: Path, url: str, md5: str, named: str) -> None:
    with pytest.raises(StableQuantError, match=named) as refusal:
        fetch("dev-clean", url, md5, tmp_path / "LibriSpeech")
    assert "dev-clean.tar.gz" in str(refusal.value)
    left = [file.name for file in (tmp_path / "LibriSpeech").iterdir()]
    assert left == [".dev-clean.lock"], "left something behind"


def test_what_is_not_the_published_archive_is_refused(tmp_path, mirror):
    folder, url = mirror
    refused(tmp_path, url, MD5["dev-clean"], "cannot be downloaded.*404")
    publish(folder, tmp_path)
    refused(tmp_path, url, MD5["dev-clean"], "its MD5 is .*, not 42e2234ba48799c1f50f24a7926300a1")
    archive = folder / "dev-clean.tar.gz"
    archive.write_bytes(archive.read_bytes()[:1000])
    refused(tmp_path, url, md5_of(folder), "cannot be unpacked")
    refused(tmp_path, "http://127.0.0.1:9", MD5["dev-clean"], "cannot be downloaded")


def test_a_download_that_breaks_off_or_hangs_is_refused(tmp_path, mirror, monkeypatch):
    folder, url = mirror
    (folder / "cut").mkdir()
    publish(folder / "cut", tmp_path)
    refused(tmp_path, f"{url}/cut", md5_of(folder / "cut"), "cannot be downloaded.*librispeech_mirror")
    monkeypatch.setattr(download_librispeech, "TIMEOUT", 0.2)
    refused(tmp_path, f"{url}/silent/", MD5["dev-clean"], "cannot be downloaded.*timed? ?out")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no file that is always full")
def test_a_full_disk_is_no_fault_of_the_mirror(tmp_path, mirror):
    folder, url = mirror
    publish(folder, tmp_path)
    with pytest.raises(OSError) as fault:
        download_librispeech._download(f"{url}/dev-clean.tar.gz", Path("/dev/full"))
    assert "no space is left on the disk" in fault_of_the_machine(fault.value)


def test_progress_tells_megabytes(tmp_path, mirror, capsys):
    folder, url = mirror
    (folder / "dev-clean.tar.gz").write_bytes(bytes(5 << 20))
    refused(tmp_path, url, md5_of(folder), "no LibriSpeech")
    assert re.search(r"dev-clean\.tar\.gz: 100%.* 5/5 ", capsys.readouterr().err)


@pytest.mark.parametrize("name", ["../escaped", "{tmp_path}/escaped", "LibriSpeech/dev-clean/link"])
def test_an_archive_cannot_write_elsewhere(tmp_path, mirror, name):
    folder, url = mirror
    with tarfile.open(folder / "dev-clean.tar.gz", "w:gz") as tar:
        entry = tarfile.TarInfo(name.format(tmp_path=tmp_path))
        if name.endswith("link"):
            entry.type, entry.linkname = tarfile.SYMTYPE, "../../../../outside"
            tar.addfile(entry)
        else:
            entry.size = 4
            tar.addfile(entry, io.BytesIO(b"evil"))
    refused(tmp_path, url, md5_of(folder), "cannot be unpacked|no LibriSpeech/dev-clean")
    assert not (tmp_path / "escaped").exists()
    assert not (tmp_path / "LibriSpeech/escaped").exists()


def test_an_archive_of_something_else_is_refused(tmp_path, mirror):
    folder, url = mirror
    with tarfile.open(folder / "dev-clean.tar.gz", "w:gz") as tar:
        tar.add(__file__, "LibriSpeech/test-clean/file.py")
    refused(tmp_path, url, md5_of(folder), "no LibriSpeech/dev-clean in it")
