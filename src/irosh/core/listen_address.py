"""Where an HTTP server of ours listens: ``ADDRESS:PORT``, or a port alone, which is one of the loopback address."""

from __future__ import annotations

from irosh.core.socket_spec import Fault, bracketed, parse_host, parse_port, split_host_port


def parse_listen_address(text: str) -> tuple[str, int]:
    """Host and port; port 0 is any free one. Raises :class:`~irosh.core.socket_spec.Fault`."""
    if not text.strip(":"):
        raise Fault("the address is missing", "write it like 9464 or 0.0.0.0:9464")
    host, _, port = text.rpartition(":")
    if host:
        host, port = split_host_port(text)
        host = parse_host(host)
    return host or "127.0.0.1", 0 if port == "0" else parse_port(port)


def format_listen_address(text: str) -> str:
    """``text`` with its host spelled out."""
    host, port = parse_listen_address(text)
    return f"{bracketed(host)}:{port}"
