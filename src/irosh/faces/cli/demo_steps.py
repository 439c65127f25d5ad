"""The steps of the demo. Each does one thing with real processes, checks the result and says what it saw."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from irosh.faces.cli import demo_services
from irosh.faces.cli.demo_stage import DEADLINE, DemoError, Stage
from irosh.faces.cli.table import milliseconds

HOST, OTHER_HOST = "demo-host", "demo-other"
FILE_SIZE = 8_000_000
EXIT_STATUS = 7
LINES = 20
_DIRECT_TRIES = 8
_UDP_TRIES = 3


@dataclass(frozen=True)
class Seen:
    """What a step saw: one short line, and the same for programs."""

    text: str
    fields: dict[str, Any] = field(default_factory=dict)


class Demo:
    """What the steps share. They run in the order of :data:`STEPS`, each relying on those before it."""

    def __init__(self, stage: Stage, http_port: int, dns_port: int) -> None:
        self._stage = stage
        self._http_port = http_port
        self._dns_port = dns_port

    async def relay(self) -> Seen:
        """A relay of our own."""
        process = await self._stage.start("relay", "serve", "--listen", "127.0.0.1:0")
        ready = await process.event("ready")
        self._relay = str(ready["url"])
        return Seen(f"serving {self._relay}", {"url": self._relay})

    async def host(self) -> Seen:
        """A host, and its ticket."""
        self._host = self._stage.state("host", self._relay)
        self._host_process = await self._stage.start(
            "--state", self._host, "host", "--relay", self._relay, "--bind", "127.0.0.1:0"
        )
        ready = await self._host_process.event("ready")
        ticket = self._ticket = str(ready["ticket"])
        shown = f"ticket {ticket[:14]}…{ticket[-8:]}, {len(ticket)} characters, one use"
        return Seen(shown, {"ticket": ticket, "id": ready["id"]})

    async def connect(self) -> Seen:
        """The first connect, which pins the host."""
        self._client = self._stage.state("client", self._relay)
        done = await self._stage.run(*self._on_client("connect", "--name", HOST, self._ticket, "uname -sr"))
        connected = done.event("connected")
        _expect(done.status == 0 and connected["new"] and done.stdout.strip(), done.unexpected())
        output = done.stdout.strip()
        return Seen(
            f"pinned as {HOST}; uname says {output}",
            {"peer": connected["peer"], "id": connected["id"], "output": output},
        )

    async def tunnel(self) -> Seen:
        """Two tunnels, by petname; from now on a node runs on the client's side."""
        process = await self._stage.start(
            *self._on_client("tunnel", "open", HOST),
            *("--map", f"tcp://127.0.0.1:{self._http_port}=127.0.0.1:0"),
            *("--map", f"udp://127.0.0.1:{self._dns_port}=127.0.0.1:0"),
        )
        listens = [str((await process.event("listening"))["listen"]) for _ in range(2)]
        await process.event("ready")
        self._http_here, self._dns_here = (int(listen.rpartition(":")[2]) for listen in listens)
        return Seen(f"to {HOST}: TCP at {self._http_here}, UDP at {self._dns_here}", {"listen": listens})

    async def command(self) -> Seen:
        """A command on the running connection."""
        done = await self._stage.run(
            *self._on_client("connect", HOST, f"echo to stdout; echo to stderr >&2; exit {EXIT_STATUS}")
        )
        separate = done.stdout == "to stdout\n" and done.event("stderr")["data"] == "to stderr\n"
        _expect(separate and done.status == EXIT_STATUS, done.unexpected())
        return Seen(f"stdout, stderr and exit status {done.status} came back", {"status": done.status})

    async def file(self) -> Seen:
        """A file to the host and back, by put and get."""
        directory = self._stage.directory
        source, there, back = directory / "source", directory / "there", directory / "back"
        source.write_bytes(os.urandom(FILE_SIZE))
        begun = time.monotonic()
        put = await self._stage.run(*self._on_client("put", str(source), f"{HOST}:{there}"))
        turned = time.monotonic()
        got = await self._stage.run(*self._on_client("get", f"{HOST}:{there}", str(back)))
        ended = time.monotonic()
        _expect(put.status == 0, put.unexpected())
        _expect(got.status == 0, got.unexpected())
        digests = {await asyncio.to_thread(_sha256, each) for each in (source, there, back)}
        _expect(len(digests) == 1, DemoError("the bytes that came back are not those that were sent"))
        digest, megabytes = digests.pop(), FILE_SIZE / 1e6
        up, down = megabytes / (turned - begun), megabytes / (ended - turned)
        return Seen(
            f"{megabytes:.0f} MB: {up:.0f} MB/s there, {down:.0f} back, sha256 {digest[:8]}… equal",
            {"bytes": FILE_SIZE, "up_mb_s": round(up, 1), "down_mb_s": round(down, 1), "sha256": digest},
        )

    async def http(self) -> Seen:
        """A web page through the TCP tunnel."""
        url = f"http://127.0.0.1:{self._http_here}/"
        begun = time.monotonic()
        status, page = await asyncio.to_thread(_fetch, url)
        elapsed = (time.monotonic() - begun) * 1000
        _expect(status == 200 and page == demo_services.PAGE, DemoError(f"{url} gave {status}, {len(page)} bytes"))
        return Seen(
            f"GET through the tunnel: {status}, {len(page) / 1000:.0f} kB in {elapsed:.1f} ms",
            {"url": url, "status": status, "bytes": len(page), "ms": round(elapsed, 3)},
        )

    async def dns(self) -> Seen:
        """A name looked up through the UDP tunnel."""
        query = demo_services.dns_query(secrets.randbits(16), demo_services.NAME)
        begun = time.monotonic()
        answer = await _ask(self._dns_here, query)
        elapsed = (time.monotonic() - begun) * 1000
        try:
            address = demo_services.dns_address(query, answer)
        except ValueError as error:
            raise DemoError(str(error)) from None
        return Seen(
            f"{demo_services.NAME} is {address}, answered in {elapsed:.1f} ms",
            {"name": demo_services.NAME, "address": address, "ms": round(elapsed, 3)},
        )

    async def path(self) -> Seen:
        """The path that the packets take; it begins at the relay and moves to a direct one."""
        for _ in range(_DIRECT_TRIES):
            done = await self._stage.run(*self._on_client("status"))
            status = done.events[-1] if done.events else {}
            _expect(status.get("connections"), done.unexpected())
            connection = status["connections"][0]
            if connection["path"] == "direct":
                break
        self._client_id = str(status["id"])
        fields = {name: connection[name] for name in ("path", "rtt_ms", "paths")}
        relayed = next((path["rtt_ms"] for path in connection["paths"] if path["relayed"]), None)
        other = f"; by relay {milliseconds(relayed)}" if relayed is not None and connection["path"] == "direct" else ""
        return Seen(f"{connection['path']}, round trip {milliseconds(connection['rtt_ms'])}{other}", fields)

    async def session(self) -> Seen:
        """A command that goes on, although its host was suspended for longer than the client waits."""
        count = f"i=0; while [ $i -lt {LINES} ]; do echo $i; i=$((i+1)); sleep 0.2; done"
        session = await self._stage.start(*self._on_client("connect", HOST, count))
        await session.event("stdout")
        begun = time.monotonic()
        with self._host_process.suspended():
            await session.event("lost")
        away = time.monotonic() - begun
        await session.event("resumed")
        done = await session.finish()
        _expect(done.status == 0, done.unexpected())
        _expect(done.stdout.split() == [str(line) for line in range(LINES)], DemoError("lines were lost, or doubled"))
        return Seen(
            f"host suspended {away:.1f} s: the command went on, no line lost",
            {"suspended": round(away, 3), "lines": LINES},
        )

    async def nostr(self) -> Seen:
        """Another host, met over a Nostr relay of our own."""
        relay = await self._stage.start("nostr", "relay", "--listen", "127.0.0.1:0")
        url = str((await relay.event("ready"))["url"])
        state, self._files = self._stage.state("other", self._relay), self._stage.files()
        host = await self._stage.start(
            *("--state", state, "host", "--mode", "nostr", "--nostr-relay", url, "--mode", "custom", *self._files)
        )
        ready = await host.event("ready")
        begun = time.monotonic()
        done = await self._stage.run(
            *self._on_client("connect", "--name", OTHER_HOST, str(ready["ticket"]), "echo met")
        )
        elapsed = (time.monotonic() - begun) * 1000
        _expect(done.status == 0 and done.stdout == "met\n", done.unexpected())
        return Seen(
            f"met {ready['npub'][:12]}… over {url} in {elapsed:.0f} ms",
            {"npub": ready["npub"], "relay": url, "ms": round(elapsed, 3), "path": done.event("connected")["path"]},
        )

    async def custom(self) -> Seen:
        """The same host, met by ICE with an offer and an answer in files."""
        begun = time.monotonic()
        done = await self._stage.run(*self._on_client("connect", "--mode", "custom", *self._files, "-", "echo met"))
        elapsed = (time.monotonic() - begun) * 1000
        _expect(done.status == 0 and done.stdout == "met\n", done.unexpected())
        path = done.event("connected")["path"]
        return Seen(
            f"offer and answer by files, ICE: {path} in {elapsed:.0f} ms", {"ms": round(elapsed, 3), "path": path}
        )

    async def stranger(self) -> Seen:
        """Another identity, with the ticket that was already used."""
        state = self._stage.state("stranger", self._relay)
        done = await self._stage.run("--state", state, "connect", self._ticket, "true")
        _expect(done.error_code == "invite-used", DemoError("a stranger with a used ticket was not refused"))
        return Seen("another identity with the used ticket was refused", {"code": done.error_code})

    async def revoke(self) -> Seen:
        """The client's access taken away while it is in use."""
        session = await self._stage.start(*self._on_client("connect", HOST, "sh -c 'echo $$; exec sleep 1000'"))
        pid = int((await session.event("stdout"))["data"])
        await self._revoke()
        begun = time.monotonic()
        ended = await session.finish()
        elapsed = (time.monotonic() - begun) * 1000
        _expect(ended.status == 255, ended.unexpected())
        _expect(await _gone(pid), DemoError("the revoked peer's command still runs on the host"))
        again = await self._stage.run(*self._on_client("connect", HOST, "true"))
        _expect(again.error_code == "revoked", DemoError("a revoked peer could connect again"))
        return Seen(
            f"its session ended at once ({milliseconds(elapsed)}); it cannot come back",
            {"session_ended_ms": round(elapsed, 3), "code": again.error_code},
        )

    async def _revoke(self) -> None:
        done = await self._stage.run("--state", self._host, "peer", "revoke", self._client_id)
        _expect(done.status == 0, done.unexpected())

    def _on_client(self, *arguments: str) -> tuple[str, ...]:
        return ("--state", self._client, *arguments)


Step = Callable[[Demo], Awaitable[Seen]]

STEPS: tuple[tuple[str, Step], ...] = (
    ("relay", Demo.relay),
    ("host", Demo.host),
    ("connect", Demo.connect),
    ("tunnel", Demo.tunnel),
    ("command", Demo.command),
    ("file", Demo.file),
    ("http", Demo.http),
    ("dns", Demo.dns),
    ("path", Demo.path),
    ("session", Demo.session),
    ("nostr", Demo.nostr),
    ("custom", Demo.custom),
    ("stranger", Demo.stranger),
    ("revoke", Demo.revoke),
)


@asynccontextmanager
async def demo_on(stage: Stage) -> AsyncIterator[Demo]:
    """The demo on ``stage``, with the servers it reaches through tunnels."""
    async with AsyncExitStack() as stack:
        http_port = stack.enter_context(demo_services.http_server())
        dns_port = await stack.enter_async_context(demo_services.name_server())
        yield Demo(stage, http_port, dns_port)


def _expect(fulfilled: object, otherwise: DemoError) -> None:
    if not fulfilled:
        raise otherwise


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(url: str) -> tuple[int, bytes]:
    # Without the proxy that the environment may name: this is loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=DEADLINE) as response:
            return response.status, response.read(2 * len(demo_services.PAGE))
    except OSError as error:
        raise DemoError(f"{url}: {error}") from None


async def _ask(port: int, query: bytes) -> bytes:
    """The answer of a UDP server on loopback; the query is repeated, as a resolver does."""
    loop = asyncio.get_running_loop()
    answers: asyncio.Queue[bytes] = asyncio.Queue()

    class Resolver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
            answers.put_nowait(data)

    transport, _ = await loop.create_datagram_endpoint(Resolver, remote_addr=("127.0.0.1", port))
    try:
        for _ in range(_UDP_TRIES):
            transport.sendto(query)
            with suppress(TimeoutError):
                async with asyncio.timeout(DEADLINE / _UDP_TRIES):
                    return await answers.get()
    finally:
        transport.close()
    raise DemoError("no answer came through the UDP tunnel")


async def _gone(pid: int) -> bool:
    """Whether the process ends within the deadline."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        await asyncio.sleep(0.01)
    return False
