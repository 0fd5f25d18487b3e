"""The server below the service: idle connections, and the addresses that it is reached by."""

import socket
import time

import pytest
from serving import Echo, configure, serving

from stablequant.bundle.listening import Server, is_loopback
from stablequant.bundle.serve import Limits
from stablequant.errors import StableQuantError


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


def test_who_goes_on_with_a_request_that_was_answered_is_cut_off():
    """A byte now and then would keep the connection open for ever."""
    with serving(Echo()) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        assert b"405" in connection.recv(1000)
        start = time.monotonic()
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            while time.monotonic() < start + 4:
                connection.sendall(b"x")
                time.sleep(0.1)
        assert time.monotonic() - start > 0.8


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = configure(Echo(), "tiny", "127.0.0.1", port, Limits())
        with pytest.raises(StableQuantError, match=rf"127\.0\.0\.1:{port}: .*; take another --port"):
            Server(config, print).run()


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
