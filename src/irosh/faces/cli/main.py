"""``irosh``: the group of commands. Each is imported only when it runs, so that every start is fast."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import sys
from importlib import import_module
from types import ModuleType

import click

from irosh.core.errors import ErrorCode, IroshError
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.output import report_error
from irosh.faces.cli.standard_streams import open_standard_streams

_SOFTWARE = 70  # EX_SOFTWARE, sysexits.h
_READER_LEFT = 141  # as of a program that SIGPIPE ended (`irosh audit | head`): not an error worth a message

# name: (module, attribute, one line of help). The help stands here so that `irosh --help` imports none of them.
COMMANDS = {
    "host": ("host", "host", "Let peers connect to this machine; prints a ticket."),
    "connect": ("connect", "connect", "Open a shell on a peer, or run a command there."),
    "tunnel": ("tunnel", "tunnel", "Bring a TCP, UDP or Unix socket of a peer to this machine."),
    "vpn": ("vpn", "vpn", "Reach networks, or everything, through a peer (Linux, root)."),
    "put": ("transfer", "put", "Copy files to a peer; resumes, verifies."),
    "get": ("transfer", "get", "Copy files from a peer."),
    "cp": ("transfer", "cp", "Copy files to, from or between peers."),
    "proxy": ("proxy", "proxy", "Carry SSH for other programs (ssh -o ProxyCommand='irosh proxy %h')."),
    "mount": ("mount", "mount", "Have a directory of a peer appear on this machine, by sshfs."),
    "umount": ("mount", "umount", "End what `irosh mount` began."),
    "verify": ("verify", "verify", "Give a host the second factors it asks for."),
    "share": ("share", "share", "Share a terminal of this machine with guests; prints a ticket."),
    "join": ("join", "join", "Take part in a session that somebody shares."),
    "session": ("session", "session", "Sessions that stay: list, attach, kill; who is there, who may type."),
    "invite": ("invite", "invite", "Make a new ticket for the running host."),
    "peer": ("peer", "peer", "List, name, allow, revoke, block and remove peers."),
    "ca": ("ca", "ca", "Trust certificate authorities whose SSH certificates let identities in."),
    "identity": ("identity", "identity", "Show, export or rotate this machine's key."),
    "gateway": ("gateway", "gateway", "Show machines that have only OpenSSH to peers, or see which are shown."),
    "telemetry": ("telemetry", "telemetry", "Show processor, memory, disk and network of a peer."),
    "status": ("status", "status", "Show the running node, its connections and their paths."),
    "metrics": ("metrics", "metrics", "Print the running node's metrics for Prometheus."),
    "audit": ("audit", "audit", "Show who connected, what was used and what was refused."),
    "relay": ("relay", "relay", "Run a relay for machines that cannot reach each other directly."),
    "nostr": ("nostr", "nostr", "Show this machine's Nostr key, or run a Nostr relay."),
    "netcheck": ("netcheck", "netcheck", "Look at what this network allows, and say what will connect."),
    "config": ("config", "config", "Show the configuration, or where it is."),
    "ssh-config": ("ssh_config", "ssh_config", "Print ssh_config(5) for reaching peers with OpenSSH."),
    "completion": ("completion", "completion", "Print shell completion for bash, zsh or fish."),
    "demo": ("demo", "demo", "See it all work on this machine, in under a minute."),
    "version": ("version", "version", "Print the version."),
}


def _imported(name: str) -> ModuleType:
    """The module. No garbage is looked for meanwhile: all of it stays, and looking takes a tenth of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        return import_module(name)
    finally:
        if collecting:
            gc.enable()


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command = getattr(_imported(f"irosh.faces.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:  # set while a shell completes words
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean `irosh {close[0]}`?" if close else "`irosh --help` lists the commands"
            raise IroshError(ErrorCode.USAGE, f"there is no command {args[0]!r}", hint)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command. What its output meets with ends it here: click would end quietly, with status 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise click.exceptions.Exit(_READER_LEFT) from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
                raise
            from irosh.faces.cli.writing import unwritten

            raise unwritten(error) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@common_options
def cli(settings: Settings) -> None:
    """Secure peer-to-peer access to your machines: no public address, no open port, no VPN, no account.

    On one machine: irosh host. On another: irosh connect TICKET.
    """


def main() -> None:
    """The program. Leaves at once: taking the interpreter down would cost a command a tenth of a second."""
    status = _SOFTWARE
    open_standard_streams()
    try:
        status = run()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
    finally:  # also when it is interrupted once more: what goes on in threads is not waited for
        os._exit(status)


def run() -> int:
    """Run the command line. The exit status: 0, 1 for an error, 2 for wrong usage, 130 when interrupted; connect: as
    its command.
    """
    arguments = sys.argv[1:]
    try:
        status = cli.main(arguments, prog_name="irosh", standalone_mode=False)
    except BaseException as error:  # noqa: BLE001 - shown, if it is none of those that are expected
        with contextlib.suppress(OSError):  # nobody may be there to be told: the terminal has gone
            _tell(error, as_json="--json" in arguments)
        return _status_of(error)
    return status if isinstance(status, int) else 0


def _status_of(error: BaseException) -> int:
    match error:
        case IroshError():
            return 2 if error.code is ErrorCode.USAGE else 1
        case click.ClickException():
            return error.exit_code
        case KeyboardInterrupt() | click.Abort():
            return 130
        case SystemExit():
            return error.code if isinstance(error.code, int) else 0
        case _:
            return _SOFTWARE


def _tell(error: BaseException, *, as_json: bool) -> None:
    match error:
        case IroshError():
            report_error(error, as_json=as_json)
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message(), err=True)
        case click.ClickException():
            report_error(_usage(error), as_json=as_json)
        case KeyboardInterrupt() | click.Abort() | SystemExit():
            pass
        case _:
            import traceback

            traceback.print_exception(error)


def _usage(error: click.ClickException) -> IroshError:
    context = getattr(error, "ctx", None)
    hint = f"`{context.command_path} --help` explains" if context is not None else ""
    return IroshError(ErrorCode.USAGE, error.format_message(), hint)
