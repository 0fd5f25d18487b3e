"""The server below the service: idle connections, and the addresses that it is reached by."""

import socket
import time

import pytest
from serving import Echo, serving

from stablequant.bundle.listening import is_loopback


@pytest.mark.parametrize("sent", [b"", b"POST / HTTP/1.1\r\nHost: "])
@pytest.mark.parametrize("before", [False, True])
def test_connections_on_which_no_request_comes_are_closed(sent, before):
    """Also behind a request that was answered; between two requests the client may wait longer."""
    with serving(Echo()) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(2)
        if before:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
            while connection.recv(1) != b"}":
                pass
        connection.sendall(sent)
        if before and not sent:
            with pytest.raises(TimeoutError):
                connection.recv(1)
        else:
            start = time.monotonic()
            assert connection.recv(1) == b""
            assert time.monotonic() - start > 0.8


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("192.168.1.7", False),
        ("a.b", False),
    ],
)
def test_which_addresses_only_this_machine_reaches(host, local):
    assert is_loopback(host) == local
