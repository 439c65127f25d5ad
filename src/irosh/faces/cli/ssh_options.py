"""``-o NAME=VALUE`` as ssh(1) has it, of those options of ssh_config(5) that mean something here."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click

from irosh.core.wording import did_you_mean, quoted

F = TypeVar("F", bound=Callable[..., Any])

# As ssh_config(5) SendEnv on Debian, and what says how many colours there are.
_SENT_ENVIRONMENT = ("LANG", "LC_", "COLORTERM")
_YES, _NO = ("yes", "true"), ("no", "false")


def _flag(value: str) -> str:
    if value.lower() in _YES:
        return "yes"
    if value.lower() in _NO:
        return "no"
    raise ValueError("yes or no")


def _one_of(*choices: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value.lower() not in choices:
            raise ValueError(" or ".join(choices))
        return value.lower()

    return check


def _seconds(value: str) -> str:
    if value.lower() == "none":
        return "0"
    if not (value.isascii() and value.isdecimal() and len(value) < 7):
        raise ValueError("a number of seconds, or none")
    return value


def _text(value: str) -> str:
    if not value:
        raise ValueError("a value")
    return value


OPTIONS: dict[str, Callable[[str], str]] = {
    "ClearAllForwardings": _flag,
    "ConnectTimeout": _seconds,
    "DynamicForward": _text,
    "EnableEscapeCommandline": _flag,
    "EscapeChar": _text,
    "ExitOnForwardFailure": _flag,
    "ForkAfterAuthentication": _flag,
    "ForwardAgent": _flag,
    "GatewayPorts": _flag,
    "LocalForward": _text,
    "RemoteForward": _text,
    "RequestTTY": _one_of("no", "yes", "force", "auto"),
    "SendEnv": _text,
    "SessionType": _one_of("none", "default"),
    "SetEnv": _text,
    "StreamLocalBindUnlink": _flag,
    "User": _text,
}
"""The names as in ssh_config(5). Each function makes a value canonical; its ``ValueError`` says what there may be."""


@dataclass(frozen=True)
class SSHOptions:
    """What was given with ``-o``."""

    given: dict[str, list[str]] = field(default_factory=dict)

    def value(self, name: str) -> str | None:
        """The value of ``name``; the first one counts, as with ssh."""
        assert name in OPTIONS
        values = self.given.get(name)
        return values[0] if values else None

    def flag(self, name: str) -> bool:
        """Whether ``name`` was set to yes."""
        return self.value(name) == "yes"

    def all(self, name: str) -> list[str]:
        """All values of one that may be repeated."""
        assert name in OPTIONS
        return self.given.get(name, [])


def parse_options(texts: Sequence[str]) -> SSHOptions:
    """``NAME=VALUE`` or ``NAME VALUE`` each. ``click.UsageError``, naming the nearest option that there is."""
    known = {name.lower(): name for name in OPTIONS}
    given: dict[str, list[str]] = {}
    for text in texts:
        word, value = _split(text)
        name = known.get(word.lower())
        if name is None:
            raise click.UsageError(f"-o {quoted(word)} is no option of irosh: {_nearest(word)}")
        try:
            given.setdefault(name, []).append(OPTIONS[name](value))
        except ValueError as expected:
            raise click.UsageError(f"-o {name} takes {expected}, not {quoted(value)}") from None
    return SSHOptions(given)


def ssh_options(function: F) -> F:
    """Add ``-o`` to a command, which gets :class:`SSHOptions` as the keyword argument ``ssh``."""

    @click.option("-o", "ssh_texts", multiple=True, metavar="NAME=VALUE", help="An option as in ssh_config(5).")
    @functools.wraps(function)
    def wrapped(*args: Any, ssh_texts: tuple[str, ...], **kwargs: Any) -> Any:
        return function(*args, ssh=parse_options(ssh_texts), **kwargs)

    return wrapped  # type: ignore[return-value]


def _split(text: str) -> tuple[str, str]:
    stripped = text.strip()
    end = next((at for at, char in enumerate(stripped) if char == "=" or char.isspace()), len(stripped))
    value = stripped[end:].strip().removeprefix("=").strip()
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
    return stripped[:end], value


def _nearest(word: str) -> str:
    lowered = {name.lower(): name for name in OPTIONS}
    hint = did_you_mean(word, lowered)
    for lower, name in lowered.items():
        hint = hint.replace(f"'{lower}'", name)
    return hint if hint.startswith("did you mean") else f"it knows {', '.join(OPTIONS)}"


def sent_environment() -> dict[str, str]:
    """What a session is told of this command's environment without being asked."""
    return {key: value for key, value in os.environ.items() if key.startswith(_SENT_ENVIRONMENT)}


def environment(ssh: SSHOptions, everything: dict[str, str]) -> dict[str, str]:
    """What ``SendEnv`` picks of ``everything``, and what ``SetEnv`` sets. ``click.UsageError``."""
    picked: dict[str, str] = {}
    if not ssh.given:
        return picked
    import shlex
    from fnmatch import fnmatchcase

    for pattern in " ".join(ssh.all("SendEnv")).split():
        picked |= {name: value for name, value in everything.items() if fnmatchcase(name, pattern)}
    for text in ssh.all("SetEnv"):
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise click.UsageError(f"-o SetEnv {quoted(text)}: {error}") from None
        for word in words:
            name, equals, value = word.partition("=")
            if not name or not equals:
                raise click.UsageError(f"-o SetEnv takes NAME=VALUE, not {quoted(word)}")
            picked[name] = value
    return picked
