"""A client of a host's VPN that breaks the rules: the host goes on, and lets nothing through."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from irosh.core.errors import IroshError
from irosh.core.identity import Identity
from irosh.core.packet_framing import pack_packet
from irosh.core.wire import StreamAnswer, StreamHeader, Welcome, encode_datagram, encode_request, error_in
from irosh.node.node import Node
from irosh.services.vpn.messages import VpnRequest, VpnWelcome
from irosh.transport.framing import read_frame, write_frame
from irosh.transport.interfaces import CarrierStream, Connection
from tests.lab.namespace import entered
from tests.lab.network import Network
from tests.lab.processes import wait_until
from tests.lab.requirements import requires_netns
from tests.support.nodes import DEADLINE, bare_endpoint, open_foreign_stream, pin, running_node, say_hello
from tests.support.packets import packet4

pytestmark = [
    pytest.mark.netns,
    requires_netns(),
    pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="needs /dev/net/tun"),
]

FLOW = 6


@asynccontextmanager
async def client(tmp_path: Path, *capabilities: str) -> AsyncIterator[tuple[Node, Connection]]:
    mallory = Identity.generate()
    async with running_node(tmp_path / "host") as host, bare_endpoint(mallory) as endpoint, asyncio.timeout(DEADLINE):
        pin(host, mallory, "mallory", capabilities)
        connection = await endpoint.connect(host.modes.contact().route())
        hello = await say_hello(connection)
        await read_frame(hello, Welcome, deadline=DEADLINE)
        yield host, connection


async def ask(connection: Connection, request: VpnRequest) -> tuple[CarrierStream, IroshError | None]:
    stream = await open_foreign_stream(connection)
    await write_frame(stream, StreamHeader("vpn", encode_request(request)))
    return stream, error_in(await read_frame(stream, StreamAnswer, deadline=DEADLINE))


def test_floods_nonsense_and_other_addresses(tmp_path: Path) -> None:
    with Network() as network:
        machine = network.host("host")
        machine.ip("address", "add", "10.7.7.7/32", "dev", "lo")
        with entered(machine.namespace):
            asyncio.run(_flood(tmp_path))
        wait_until(lambda: "iroshgw" not in machine.ip("link"), what="the interfaces are gone")
        assert machine.run("nft", "list", "ruleset").stdout == b""


async def _flood(tmp_path: Path) -> None:
    dice = random.Random(7)
    async with client(tmp_path, "vpn:10.7.7.0/24") as (host, connection):
        stream, error = await ask(connection, VpnRequest(FLOW, wanted4="not an address", wanted6="::1; reboot"))
        assert error is None
        welcome = await read_frame(stream, VpnWelcome, deadline=DEADLINE)
        own, other = IPv4Address(welcome.address4), IPv4Address(int(IPv4Address(welcome.address4)) + 1)
        second, error = await ask(connection, VpnRequest(FLOW))
        assert error is None, "the second one is told by its stream that the flow is taken"
        for number in range(5000):
            packet = (
                dice.randbytes(dice.randrange(100)),
                packet4(other, IPv4Address("10.7.7.7"), dice.randbytes(20)),
                packet4(own, IPv4Address("127.0.0.1"), dice.randbytes(20)),
                packet4(own, IPv4Address(dice.randrange(2**32)), dice.randbytes(20), protocol=dice.randrange(256)),
            )[number % 4]
            segment = dice.choice((0, 1, 2, 8, 1348, 65_535)).to_bytes(2)
            connection.send_datagram(encode_datagram(FLOW, segment + packet))
            if number % 50 == 0:
                large = packet4(own, IPv4Address("10.7.7.7"), _segment_of_tcp(dice), protocol=6)
                await stream.write(b"".join(map(pack_packet, (packet, b"", segment, segment + large))))
                await asyncio.sleep(0)
        # A ping to an address that is permitted comes back: the host still carries packets.
        echo = bytes([8, 0, 0xF7, 0xFF, 0, 0, 0, 0])
        ping = packet4(own, IPv4Address("10.7.7.7"), echo, protocol=1)
        while True:
            connection.send_datagram(encode_datagram(FLOW, bytes(2) + _with_checksum(ping)))
            try:
                async with asyncio.timeout(1):
                    answer = await connection.receive_datagram()
            except TimeoutError:
                continue
            if answer[6:][9:10] == b"\1" and answer[6:][20:21] == b"\0":
                break
        refused = [entry for entry in host.trust.audit_log(limit=200) if entry.outcome == "refused"]
        assert len(refused) <= 110, "a flood of refusals does not fill the audit"
        await second.abort()
        await stream.abort()


def _segment_of_tcp(dice: random.Random) -> bytes:
    """As if it were to be cut into many, with nonsense for a header."""
    header = bytearray(dice.randbytes(20))
    header[12] = dice.choice((0x50, 0x80, 0xF0, 0x00, 0x10))
    return bytes(header) + dice.randbytes(dice.randrange(9000))


def _with_checksum(packet: bytes) -> bytes:
    header = packet[:10] + b"\0\0" + packet[12:20]
    total = sum(int.from_bytes(header[at : at + 2]) for at in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return packet[:10] + (total ^ 0xFFFF).to_bytes(2) + packet[12:]
