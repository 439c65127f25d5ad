"""A chain of nodes of which each knows its neighbours only, and a client that may pass through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.irosh_process import Irosh, IroshProcess
from tests.lab.machine import Machine
from tests.lab.pair import pin

HOP = ("jump",)
END = ("shell", "exec", "files", "agent")


@dataclass(frozen=True)
class Chain:
    """``hosts``: the hops and last the target, each a running host, by the name all call it."""

    client: Irosh
    hosts: Mapping[str, Irosh]
    processes: Mapping[str, IroshProcess]

    @property
    def target(self) -> str:
        """The name of the last one."""
        return list(self.hosts)[-1]


def identity(irosh: Irosh) -> str:
    """The endpoint id."""
    return str(irosh.call("identity", "show")["id"])


@contextmanager
def chain(
    directory: Path,
    client_machine: Machine,
    machines: Mapping[str, Machine],
    *,
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    config: str = "",
) -> Iterator[Chain]:
    """Client - first - second - ... - target. The client, with ``config``, has a link to the first only."""
    client = Irosh(client_machine, directory / "client", environment=environment, config=config)
    own = identity(client)
    with ExitStack() as stack:
        hosts: dict[str, Irosh] = {}
        processes: dict[str, IroshProcess] = {}
        before: tuple[str, Irosh] | None = None
        for name, machine in machines.items():
            host = hosts[name] = Irosh(machine, directory / name)
            process = processes[name] = stack.enter_context(host.start("host", *options))
            ticket = str(process.wait_event("ready")["ticket"])
            if before is not None:
                # The neighbour may bring others; what they may do is their own matter.
                pin(before[1], ticket, name)
                host.call("peer", "rename", identity(before[1]), before[0])
                client.call("peer", "add", identity(host), "--name", name)
                host.call("peer", "add", own, "--name", "client")
            else:
                pin(client, ticket, name)
                host.call("peer", "rename", own, "client")
            last = len(hosts) == len(machines)
            host.call("peer", "allow", "client", "--replace", *(END if last else HOP))
            before = name, host
        yield Chain(client, hosts, processes)
