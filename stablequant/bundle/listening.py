"""The server below the service: it listens, says where, and closes connections on which no request comes to its end."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from stablequant.errors import StableQuantError


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def protocol(seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1, which closes a connection if the head of a request takes longer than ``seconds`` to come.

    The same holds for what is left of a body when its request was answered early, as one that is too large.
    uvicorn itself waits for ever.
    """

    class Impatient(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._expect_more()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._expect_more()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop_waiting()

        def _expect_more(self) -> None:
            """Start the clock if a head or the body of an answered request is not complete, and stop it otherwise."""
            answered = self.cycle is not None and self.cycle.response_complete
            if self.conn.their_state is not h11.IDLE and not answered:
                self._stop_waiting()
            elif self._deadline is None:
                self._deadline = self.loop.call_later(seconds, self.transport.close)

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
        """Listen; raise `StableQuantError` if that is not possible."""
        try:
            await super().startup(sockets)
        except SystemExit as error:  # uvicorn has logged the reason
            raise StableQuantError(
                f"{_bracketed(self.config.host)}:{self.config.port}",
                "the service cannot listen there, for the reason above",
                "take another --port, or an address of this machine as --host",
            ) from error
        names = [held.getsockname() for server in self.servers for held in server.sockets]
        self._listening(" and ".join(f"http://{_bracketed(host)}:{port}/v1" for host, port, *_ in names))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
