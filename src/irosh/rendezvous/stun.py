"""A STUN client (RFC 8489, and RFC 5780 for NAT behaviour): what a UDP socket looks like from outside.

The codec is aioice's. An answer counts only with the transaction id of a question, and from where it was asked to come.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from irosh.core.endpoint_address import format_socket_address
from irosh.core.errors import ErrorCode, IroshError, system_message
from irosh.core.network_options import parse_stun_server
from irosh.core.socket_spec import bracketed, split_host_port
from irosh.core.wording import quoted
from irosh.rendezvous.resolving import Address, resolve_udp
from irosh.transport.sockets import closed_on_failure

if TYPE_CHECKING:
    from aioice.stun import Message

DEADLINE = 3.0
# RFC 8489, 6.2.1, with a shorter first timeout: a person waits, and most paths take less than this.
FIRST_RETRANSMISSION = 0.3
MAX_ANSWER = 1500  # bytes; what is longer is no answer to a binding request
MAX_SERVERS = 8
_PROBES, _PROBE_PAUSE = 4, 0.25  # packets, and seconds between them
CHANGE_IP, CHANGE_PORT = 0x04, 0x02  # RFC 5780, 7.2
_PADDING = 0xFF01  # from the range of attributes that a server ignores when it does not know them
# Socket options by platform: send with DF, whatever the kernel believes of the path (IP_PMTUDISC_PROBE; IP_DONTFRAG).
_DONT_FRAGMENT_4 = {"linux": (10, 3), "darwin": (28, 1)}
_DONT_FRAGMENT_6 = {"linux": (23, 3), "darwin": (62, 1)}


@dataclass(frozen=True)
class Binding:
    """One answer: what the server saw, where the answer came from, its other address if it says so, seconds."""

    mapped: Address
    source: Address
    other: Address | None
    rtt: float


class StunError(IroshError):
    """``stun-unreachable``: no answer; ``stun-invalid``: an answer that cannot be true."""


class StunClient(asyncio.DatagramProtocol):
    """One UDP socket that asks STUN servers, several at a time."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, _Question] = {}
        self._expected: dict[bytes, asyncio.Future[None]] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._closed = asyncio.Event()
        self._refused: OSError | None = None

    @classmethod
    async def open(cls, host: str = "0.0.0.0", port: int = 0) -> StunClient:  # noqa: S104 - any interface, as asked
        """Bind. ``IroshError`` (port-taken, bind-failed)."""
        try:
            sock = udp_socket(host, port)
        except OSError as error:
            where = f"UDP {bracketed(host)}:{port}"
            if port and error.errno == errno.EADDRINUSE:
                raise IroshError(ErrorCode.PORT_TAKEN, f"{where} is taken", "choose another --bind") from None
            raise IroshError(ErrorCode.BIND_FAILED, f"cannot bind {where}: {system_message(error)}") from None
        loop = asyncio.get_running_loop()
        _, client = await loop.create_datagram_endpoint(cls, sock=sock)
        return client

    @property
    def family(self) -> socket.AddressFamily:
        """IPv4 or IPv6."""
        family: socket.AddressFamily = self._socket.get_extra_info("socket").family
        return family

    @property
    def local(self) -> Address:
        """The address it is bound to."""
        name = self._socket.get_extra_info("sockname")
        return str(name[0]), int(name[1])

    @property
    def _socket(self) -> asyncio.DatagramTransport:
        assert self._transport is not None
        return self._transport

    async def ask(
        self,
        server: Address,
        *,
        change: int = 0,
        answer_from: Address | None = None,
        size: int = 0,
        timeout: float = DEADLINE,
    ) -> Binding:
        """One binding request, sent again until the deadline.

        ``change``: have the server answer from its other address (RFC 5780), which is ``answer_from``. ``size``: bytes
        of UDP payload to fill up to. ``StunError``: no answer, a refusal, or an address that cannot be ours.
        """
        from aioice.stun import Class, Message, Method

        request = Message(Method.BINDING, Class.REQUEST)
        if change:
            request.attributes["CHANGE-REQUEST"] = change
        question = _Question(answer_from or server)
        assert request.transaction_id is not None
        self._waiting[request.transaction_id] = question
        try:
            async with asyncio.timeout(timeout):
                return await self._transact(_padded(bytes(request), size), server, question)
        except TimeoutError:
            raise silent(server) from None
        finally:
            del self._waiting[request.transaction_id]

    async def reaches(self, other: StunClient, address: Address) -> bool:
        """Whether a packet sent to ``address`` arrives at ``other``."""
        packet = b"irosh netcheck " + os.urandom(16)
        arrived = other._expected[packet] = asyncio.get_running_loop().create_future()
        try:
            for _ in range(_PROBES):
                self._socket.sendto(packet, address)
                await asyncio.wait((arrived,), timeout=_PROBE_PAUSE)
                if arrived.done():
                    return True
            return False
        finally:
            del other._expected[packet]

    def forbid_fragments(self) -> bool:
        """Have packets dropped where they do not fit, instead of split; False where the system cannot."""
        sock = self._socket.get_extra_info("socket")
        level, options = (
            (socket.IPPROTO_IP, _DONT_FRAGMENT_4)
            if self.family == socket.AF_INET
            else (socket.IPPROTO_IPV6, _DONT_FRAGMENT_6)
        )
        chosen = options.get(sys.platform)
        if chosen is None:
            return False
        try:
            sock.setsockopt(level, *chosen)
        except OSError:
            return False
        return True

    async def _transact(self, packet: bytes, server: Address, question: _Question) -> Binding:
        pause = FIRST_RETRANSMISSION
        while True:
            self._refused = None
            sent = time.monotonic()
            self._socket.sendto(packet, server)
            if self._refused is not None:
                raise StunError(
                    ErrorCode.STUN_UNREACHABLE,
                    f"no packet can be sent to the STUN server {show(server)}: {system_message(self._refused)}",
                )
            await asyncio.wait((question.answer,), timeout=pause)
            if question.answer.done():
                message, source, arrived = question.answer.result()
                return _binding(message, server, source, arrived - sent)
            pause *= 2

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self._closed.set()

    def error_received(self, error: Exception) -> None:
        if isinstance(error, OSError):
            self._refused = error

    def datagram_received(self, data: bytes, source: Sequence[object]) -> None:
        if (arrived := self._expected.get(data)) is not None and not arrived.done():
            arrived.set_result(None)
            return
        address = (str(source[0]).partition("%")[0], int(str(source[1])))
        message = parse_answer(data)
        if message is None:
            return
        question = self._waiting.get(message.transaction_id or b"")
        if question is not None and question.expects == address and not question.answer.done():
            question.answer.set_result((message, address, time.monotonic()))

    async def close(self) -> None:
        """Close; the port is free once this returns."""
        self._socket.close()
        await self._closed.wait()


@dataclass
class _Question:
    expects: Address
    answer: asyncio.Future[tuple[Message, Address, float]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


def udp_socket(host: str, port: int) -> socket.socket:
    """A non-blocking UDP socket bound there; an IPv6 one takes IPv6 only. ``OSError``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closed_on_failure(socket.socket(family, socket.SOCK_DGRAM)) as sock:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind((host, port))
        return sock


def _padded(request: bytes, size: int) -> bytes:
    """The request with one more attribute, which servers that do not know it ignore, so that it has ``size`` bytes."""
    room = size - len(request) - 4
    if room < 0:
        return request
    room -= room % 4
    length = int.from_bytes(request[2:4], "big") + 4 + room
    return request[:2] + struct.pack("!H", length) + request[4:] + struct.pack("!HH", _PADDING, room) + bytes(room)


def parse_answer(data: bytes) -> Message | None:
    """The answer to a binding request in a packet, if it is one. Pure; never raises, whatever the bytes."""
    from aioice.stun import Class, Method, parse_message

    if len(data) > MAX_ANSWER:
        return None
    try:
        message = parse_message(data)
    except (ValueError, struct.error):
        return None
    if message.message_method is not Method.BINDING or message.message_class not in (Class.RESPONSE, Class.ERROR):
        return None
    return message


def _binding(message: Message, server: Address, source: Address, rtt: float) -> Binding:
    from aioice.stun import Class

    if message.message_class is Class.ERROR:
        code, reason = message.attributes.get("ERROR-CODE", (0, "no reason"))
        raise StunError(
            ErrorCode.STUN_INVALID, f"the STUN server {show(server)} refuses: {code} {ascii(reason)[1:-1][:80]}"
        )
    mapped = message.attributes.get("XOR-MAPPED-ADDRESS") or message.attributes.get("MAPPED-ADDRESS")
    if mapped is None:
        raise StunError(ErrorCode.STUN_INVALID, f"the STUN server {show(server)} names no address")
    problem = implausible(mapped, server)
    if problem:
        raise StunError(
            ErrorCode.STUN_INVALID,
            f"the STUN server {show(server)} says that this machine is {show(mapped)}: {problem}",
            "it is broken, or something on the way answers in its place: use another --stun-server",
        )
    other = message.attributes.get("OTHER-ADDRESS") or message.attributes.get("CHANGED-ADDRESS")
    return Binding(mapped, source, other if other is not None and _sane(other, server) else None, rtt)


def implausible(mapped: Address, server: Address) -> str:
    """Why ``mapped`` cannot be how ``server`` sees us; empty when it can. Pure."""
    seen, asked = ipaddress.ip_address(mapped[0]), ipaddress.ip_address(server[0])
    if seen.version != asked.version:
        return f"an IPv{seen.version} address, asked by IPv{asked.version}"
    if not mapped[1]:
        return "port 0"
    if seen.is_unspecified or seen.is_multicast or str(seen) == "255.255.255.255":
        return "not the address of a machine"
    if seen.is_loopback and not asked.is_loopback:
        return "a loopback address"
    if seen.is_link_local and not asked.is_link_local:
        return "a link-local address"
    if asked.is_global and not seen.is_global:
        return "a private address, which a server on the internet cannot see"
    return ""


def _sane(other: Address, server: Address) -> bool:
    """Whether the other address that a server claims is one that we may be told to send to."""
    return not implausible(other, server)


def show(address: Address) -> str:
    """``ip:port``, IPv6 in brackets."""
    return format_socket_address(ipaddress.ip_address(address[0]), address[1])


def silent(server: Address) -> StunError:
    """The error of a server that does not answer."""
    return StunError(
        ErrorCode.STUN_UNREACHABLE,
        f"the STUN server {show(server)} does not answer",
        "is it up, and does the network let UDP out? `irosh netcheck` looks",
    )


async def find_server(text: str, family: socket.AddressFamily, timeout: float = DEADLINE) -> Address:
    """The address of a STUN server in one IP family. ``IroshError`` (invalid-address, stun-unreachable)."""
    host, port = split_host_port(parse_stun_server(text))
    try:
        found = await resolve_udp(host.strip("[]"), int(port), family, timeout)
        reason = f"it has no IPv{6 if family == socket.AF_INET6 else 4} address"
    except TimeoutError:
        found, reason = (), "its name cannot be resolved: no answer from DNS"
    except OSError as error:
        found, reason = (), f"its name cannot be resolved: {error.strerror}"
    if not found:
        raise StunError(ErrorCode.STUN_UNREACHABLE, f"STUN server {quoted(text)}: {reason}", "is there a network?")
    return found[0]


@dataclass(frozen=True)
class Survey:
    """What several servers answered on one socket, by server as it was named, and what went wrong."""

    bindings: dict[str, Binding]
    problems: list[IroshError]

    @property
    def mapped(self) -> list[Address]:
        """The addresses seen, distinct, the most often seen host first; of a host that one of many sees, none."""
        return believable([binding.mapped for binding in self.bindings.values()])


async def survey(client: StunClient, servers: Sequence[str], timeout: float = DEADLINE) -> Survey:
    """Ask ``servers`` side by side. Never raises for what a server does: that is in ``problems``."""

    async def one(text: str) -> Binding | IroshError:
        try:
            async with asyncio.timeout(timeout):
                address = await find_server(text, client.family, timeout)
                return await client.ask(address, timeout=timeout)
        except TimeoutError:
            return StunError(ErrorCode.STUN_UNREACHABLE, f"the STUN server {quoted(text)} does not answer")
        except IroshError as error:
            return error

    asked = list(dict.fromkeys(servers))[:MAX_SERVERS]
    answers = await asyncio.gather(*(one(text) for text in asked))
    bindings = {text: answer for text, answer in zip(asked, answers, strict=True) if isinstance(answer, Binding)}
    problems = [answer for answer in answers if isinstance(answer, IroshError)]
    return Survey(bindings, problems + disagreement({text: binding.mapped for text, binding in bindings.items()}))


def believable(seen: Sequence[Address]) -> list[Address]:
    """The distinct addresses, without those whose host only a minority saw. Pure."""
    votes: dict[str, int] = {}
    for host, _ in seen:
        votes[host] = votes.get(host, 0) + 1
    most = max(votes.values(), default=0)
    return list(dict.fromkeys(address for address in seen if votes[address[0]] == most))


def disagreement(seen: dict[str, Address]) -> list[IroshError]:
    """A problem when servers see different hosts: one lies, or the NAT has several addresses. Pure."""
    hosts = {host for host, _ in seen.values()}
    if len(hosts) < 2:
        return []
    said = ", ".join(f"{text} says {address[0]}" for text, address in seen.items())
    return [
        StunError(
            ErrorCode.STUN_INVALID,
            f"the STUN servers disagree about this machine's address: {said}",
            "one of them is broken or lies, or the NAT has several addresses: name servers you trust by --stun-server",
        )
    ]
