"""The flags of ``irosh connect`` about forwarding."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from irosh.core.errors import IroshError
from irosh.faces.cli.forward_options import ForwardOptions
from irosh.faces.cli.ssh_options import SSHOptions

if TYPE_CHECKING:
    from irosh.core.forward_spec import ForwardKind, ForwardSpecError

F = TypeVar("F", bound=Callable[..., Any])

CONTROL_COMMANDS = ("check", "forward", "cancel", "exit", "stop")


@dataclass(frozen=True)
class ForwardFlags:
    """What was given. ``asked``: the forwards, in the order ``-L``, ``-R``, ``-D``."""

    asked: tuple[tuple[ForwardKind, str], ...] = ()
    no_command: bool = False
    background: bool = False
    stdio: str | None = None
    control: str | None = None
    exit_on_failure: bool = False
    options: ForwardOptions = field(default_factory=ForwardOptions)

    @property
    def wanted(self) -> bool:
        """Whether there is anything to do but for a shell or a command."""
        return bool(self.asked or self.no_command or self.background)

    def check(self, command: Sequence[str]) -> None:
        """``click.UsageError`` for flags that exclude each other, ``IroshError`` for malformed forwards."""
        if self.no_command and command:
            raise click.UsageError("-N runs no command, and there is one")
        if self.stdio is not None and (command or self.background):
            raise click.UsageError("-W takes standard input and output, so it excludes -f and a command")
        if self.background and not (command or self.no_command):
            raise click.UsageError("-f needs a command to run in the background, or -N for none")
        if self.control in ("forward", "cancel") and not self.asked:
            raise click.UsageError(f"-O {self.control} takes -L, -R or -D to say which")
        if self.asked and self.control != "cancel":
            _check_forwards(self.asked)

    def stdio_source(self) -> str:
        """Where ``-W`` leads. ``IroshError`` (invalid-address)."""
        from irosh.core.forward_spec import ForwardSpecError, parse_stdio_target
        from irosh.faces.cli.forwarding import service_port

        assert self.stdio is not None
        try:
            return str(parse_stdio_target(self.stdio, service_port=service_port))
        except ForwardSpecError as error:
            raise pointing(error) from None


def forward_flags(function: F) -> F:
    """Add the flags to a command below ``@ssh_options``; it gets them as the keyword argument ``forwards``."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return function(*args, forwards=_collect(kwargs, kwargs["ssh"]), **kwargs)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


_OPTIONS = (
    click.option(
        "-L",
        "local_forwards",
        multiple=True,
        metavar="[BIND:]PORT:HOST:PORT",
        help="Listen here, connect there; paths of Unix sockets at either end.",
    ),
    click.option(
        "-R",
        "remote_forwards",
        multiple=True,
        metavar="[BIND:]PORT[:HOST:PORT]",
        help="Listen there, connect here; without HOST:PORT as each connection asks by SOCKS.",
    ),
    click.option(
        "-D",
        "dynamic_forwards",
        multiple=True,
        metavar="[BIND:]PORT",
        help="A SOCKS server here: connects there to what each connection asks for.",
    ),
    click.option("-N", "no_command", is_flag=True, help="Run no shell and no command: only forward."),
    click.option("-f", "background", is_flag=True, help="Go to the background once all forwards stand."),
    click.option("-W", "stdio", metavar="HOST:PORT", help="Join standard input and output to HOST:PORT there."),
    click.option("-g", "gateway_ports", is_flag=True, help="-L and -D listen for other machines too."),
    click.option(
        "-O",
        "control",
        metavar="COMMAND",
        type=click.Choice(CONTROL_COMMANDS),
        help="Ask the running node: check; forward or cancel what -L, -R and -D say; exit, stop.",
    ),
)


def _collect(given: dict[str, Any], ssh: SSHOptions) -> ForwardFlags:
    by_flag = {
        "L": (given.pop("local_forwards"), "LocalForward"),
        "R": (given.pop("remote_forwards"), "RemoteForward"),
        "D": (given.pop("dynamic_forwards"), "DynamicForward"),
    }
    stdio = given.pop("stdio")
    clear = ssh.flag("ClearAllForwardings") or stdio is not None
    asked = [
        (kind, text)
        for kind, (flags, name) in by_flag.items()
        # ssh_config(5) has the two halves of a forward as two words.
        for text in (*flags, *(":".join(value.split()) for value in ssh.all(name)))
    ]
    return ForwardFlags(
        asked=() if clear else tuple(asked),  # type: ignore[arg-type]
        no_command=given.pop("no_command") or ssh.value("SessionType") == "none",
        background=given.pop("background") or ssh.flag("ForkAfterAuthentication"),
        stdio=stdio,
        control=given.pop("control"),
        exit_on_failure=ssh.flag("ExitOnForwardFailure"),
        options=ForwardOptions(
            gateway_ports=given.pop("gateway_ports") or ssh.flag("GatewayPorts"),
            unlink=ssh.flag("StreamLocalBindUnlink"),
        ),
    )


def _check_forwards(asked: Sequence[tuple[ForwardKind, str]]) -> None:
    """``IroshError`` for a malformed one. Only here are they parsed: most commands have none."""
    from irosh.core.forward_spec import ForwardSpecError, parse_forward
    from irosh.faces.cli.forwarding import service_port

    for kind, spec in asked:
        try:
            parse_forward(kind, spec, directory=str(Path.cwd()), service_port=service_port)
        except ForwardSpecError as error:
            raise pointing(error) from None


def pointing(error: ForwardSpecError) -> IroshError:
    """``error`` with a caret below the character that it is about."""
    pointed = error.pointed().replace("\n", "\n  ")
    return IroshError(error.code, error.message, f"{pointed}\n  {error.hint}" if error.hint else pointed)


def allocated(kind: ForwardKind, spec: str, listens: Sequence[str]) -> str | None:
    """What to say of a forward whose port was chosen for it, as ssh(1) does; None for others."""
    from irosh.core.forward_spec import parse_forward, target_text
    from irosh.faces.cli.forwarding import service_port

    forward = parse_forward(kind, spec, directory=str(Path.cwd()), service_port=service_port)
    if forward.listen.path or forward.listen.port:
        return None
    port = listens[0].rpartition(":")[2]
    to = "SOCKS" if forward.target is None else target_text(forward.target)
    if kind == "R":
        return f"Allocated port {port} for remote forward to {to}"
    return f"Allocated port {port} for local forward to {to}"
