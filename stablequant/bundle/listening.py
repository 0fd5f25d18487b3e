"""The server below the service: it listens, says where, and closes connections on which no request comes."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def protocol(head_seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1, which closes connections on which the head of a request takes longer than ``head_seconds``.

    uvicorn itself waits for ever.
    """

    class Impatient(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._expect_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._expect_head()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop_waiting()

        def _expect_head(self) -> None:
            """Start the clock if a head is not complete, and stop it if one is."""
            if self.conn.their_state is not h11.IDLE:
                self._stop_waiting()
            elif self._deadline is None:
                self._deadline = self.loop.call_later(head_seconds, self.transport.close)

        def _stop_waiting(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return Impatient


class Server(uvicorn.Server):
    """uvicorn's, which calls ``listening`` with its addresses once it takes requests."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[str], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        names = [held.getsockname() for server in self.servers for held in server.sockets]
        self._listening(" and ".join(f"http://{_bracketed(host)}:{port}/v1" for host, port, *_ in names))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
