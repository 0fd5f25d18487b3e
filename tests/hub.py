"""A Hugging Face hub on loopback that serves one repository, for what asks the real one."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

from checkout import PROJECT


@dataclass
class Hub:
    """``environment``: variables under which a process asks this hub; ``requested``: paths it was asked for."""

    folder: Path
    name: str
    environment: dict[str, str]
    revision: str = "0123456789abcdef0123456789abcdef01234567"
    requested: list[str] = field(default_factory=list)

    def python(self, code: str, *arguments: Path) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=os.environ | self.environment | {"PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        self.requested.append(path)
        files = sorted(file.name for file in self.folder.iterdir())
        if path.startswith(f"/api/models/{self.name}/tree/"):
            return 200, {}, json.dumps([self._entry(name) for name in files]).encode()
        if path.startswith(f"/api/models/{self.name}"):
            siblings = [{"rfilename": name} for name in files]
            return 200, {}, json.dumps({"id": self.name, "sha": self.revision, "siblings": siblings}).encode()
        file = self.folder / path.rpartition("/")[2]
        if path.startswith(f"/{self.name}/resolve/") and file.is_file():
            body = file.read_bytes()
            headers = {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": self.revision}
            return 200, headers, body
        return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"

    def _entry(self, name: str) -> dict:
        body = (self.folder / name).read_bytes()
        return {"type": "file", "path": name, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}


@contextmanager
def serving(folder: Path, name: str) -> Iterator[Hub]:
    """Serve ``folder`` as the repository ``name``; what is downloaded goes into a cache of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = hub.answer(self.path.partition("?")[0])
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with TemporaryDirectory() as cache:
        environment = {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": cache,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
        }
        hub = Hub(folder, name, environment)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield hub
        finally:
            server.shutdown()
            server.server_close()
