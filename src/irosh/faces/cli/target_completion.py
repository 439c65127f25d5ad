"""Completion of TARGET and of hops by the shell: the names of peers, and of the machines to which gateways lead."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from irosh.core.errors import IroshError


def complete_peer(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """For what only peers have."""
    return _completed(ctx, incomplete, machines=False)


def complete_station(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """For whatever has an SSH server: ``[USER@]TARGET``, also behind other hops and a comma."""
    return _completed(ctx, incomplete, machines=True)


def _completed(ctx: click.Context, incomplete: str, *, machines: bool) -> list[str]:
    before, separator, word = _parted(incomplete)
    names = _names(_state(ctx), machines=machines)
    return [before + separator + name for name in names if name.lower().startswith(word.lower())]


def _parted(incomplete: str) -> tuple[str, str, str]:
    at = max(incomplete.rfind(","), incomplete.rfind("@"))
    return incomplete[: max(at, 0)], incomplete[at : at + 1] if at >= 0 else "", incomplete[at + 1 :]


def _state(ctx: click.Context) -> Path:
    """The state directory of the command line so far."""
    from irosh.core.state import default_state_directory

    context: click.Context | None = ctx
    while context is not None:
        if (chosen := context.params.get("state")) is not None:
            return Path(chosen)
        context = context.parent
    return default_state_directory()


def _names(path: Path, *, machines: bool) -> list[str]:
    """None where there is no state: looking for completions makes nothing."""
    from irosh.core.state import StateDirectory
    from irosh.core.trust import TrustStore

    database = StateDirectory(path).database_path
    if not database.exists():
        return []
    with contextlib.suppress(IroshError), TrustStore(database) as trust:
        names = [peer.petname for peer in trust.peers() if peer.status != "blocked"]
        return names + [machine.target for machine in trust.machines.all()] * machines
    return []
