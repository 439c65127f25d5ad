"""Logging in to an ordinary SSH server as ssh(1) would: its configuration, its known hosts, the user's keys."""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.hops import SshStop
from irosh.core.identity import Identity
from irosh.core.ssh_settings import SshSettings, parse_settings
from irosh.core.wording import escape
from irosh.node.questions import Questions
from irosh.services.shell.agent_forwarding import NO_AGENT, offer_agent
from irosh.services.shell.known_hosts import KnownHosts, Trusted
from irosh.services.shell.login import ServeAgent, SSHLink, tunnel_over
from irosh.transport.interfaces import ByteStream

log = logging.getLogger(__name__)

LOGIN_DEADLINE = 30.0
PERSON_DEADLINE = 300.0  # seconds for a login at which somebody may have to type
SETTINGS_DEADLINE = 15.0
MAX_ATTEMPTS = 3  # at a password or a passphrase
MAX_ALIVE_MISSED, ALIVE_INTERVAL = 3, 30.0  # no session of ours notices when such a server has gone

OpenStream = Callable[[], Awaitable[ByteStream]]


@dataclass(frozen=True)
class Person:
    """On whose behalf it is logged in: ``agent``: the socket of the ssh-agent; ``questions``: None if nobody is there.

    ``accept_new``: trust a machine whose host key is not known yet without asking.
    """

    agent: str | None
    questions: Questions | None
    accept_new: bool


async def ssh_settings(stop: SshStop) -> SshSettings:
    """What the user's configuration makes of ``stop``; defaults where there is no ssh(1) to ask."""
    command = ["ssh", "-G", "-o", "BatchMode=yes", *_own_configuration()]
    if stop.port is not None:
        command += ["-p", str(stop.port)]
    if stop.user is not None:
        command += ["-l", stop.user]
    try:
        async with asyncio.timeout(SETTINGS_DEADLINE):
            process = await asyncio.create_subprocess_exec(
                *command,
                "--",
                stop.host,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            said, complaint = await process.communicate()
    except FileNotFoundError:
        return _defaults(stop)
    except TimeoutError:
        raise IroshError(ErrorCode.TIMEOUT, "`ssh -G` did not end", "check ~/.ssh/config") from None
    if process.returncode != 0:
        reason = escape(complaint.decode(errors="replace").strip(), 300)
        raise IroshError(ErrorCode.INVALID_CONFIG, f"ssh cannot read its configuration: {reason}")
    return parse_settings(said.decode(errors="replace"), stop.host, _expanded)


# OpenSSH looks in the home directory of the password database, whatever ``HOME`` says; here that counts.


def _own_configuration() -> list[str]:
    home, others = _homes()
    if home == others:
        return []
    config = Path(home, ".ssh", "config")
    return ["-F", str(config) if config.is_file() else "none"]


def _expanded(path: str) -> str:
    """``path`` as `ssh -G` prints it, which has put some home directories in already."""
    home, others = _homes()
    if home != others and path.startswith(f"{others}/.ssh/"):
        return home + path.removeprefix(others)
    return os.path.expanduser(path)  # noqa: PTH111 - which leaves a user that there is not as it is


def _homes() -> tuple[str, str]:
    """Where this program looks, and where OpenSSH does."""
    of_user = pwd.getpwuid(os.geteuid()).pw_dir
    return os.environ.get("HOME") or of_user, of_user


def _defaults(stop: SshStop) -> SshSettings:
    files = [f"identityfile ~/.ssh/{name}" for name in ("id_ed25519", "id_ecdsa", "id_rsa")]
    files += ["userknownhostsfile ~/.ssh/known_hosts", "globalknownhostsfile /etc/ssh/ssh_known_hosts"]
    text = "\n".join([*files, f"user {stop.user or pwd.getpwuid(os.geteuid()).pw_name}", f"port {stop.port or 22}"])
    return parse_settings(text, stop.host, _expanded)


async def log_in_plainly(
    settings: SshSettings,
    identity: Identity,
    person: Person,
    open_stream: OpenStream,
    serve_agent: ServeAgent | None = None,
) -> SSHLink:
    """Log in over a stream that ``open_stream`` opens; it is opened again after a host key was accepted.

    ``IroshError``: identity-mismatch for a host key that is not trusted, denied, timeout, what opening raises, …
    """
    known_hosts = KnownHosts(settings, person.questions, person.accept_new)
    known = await known_hosts.trusted()
    client = _Client(settings, identity, person)
    try:
        return await _attempt(client, await open_stream(), known, serve_agent)
    except asyncssh.HostKeyNotVerifiable:
        if client.unknown_key is None:
            raise IroshError(
                ErrorCode.IDENTITY_MISMATCH, f"the host key of {settings.known_as} cannot be verified"
            ) from None
    await known_hosts.accept(client.unknown_key, known)
    accepted: Trusted = ([client.unknown_key], [], [])
    try:
        return await _attempt(_Client(settings, identity, person), await open_stream(), accepted, serve_agent)
    except asyncssh.HostKeyNotVerifiable:
        raise IroshError(ErrorCode.IDENTITY_MISMATCH, f"{settings.known_as} shows one key, then another") from None


async def _attempt(client: _Client, stream: ByteStream, known: Trusted, serve_agent: ServeAgent | None) -> SSHLink:
    settings, person = client.settings, client.person
    async with tunnel_over(stream) as tunnel:
        try:
            async with asyncio.timeout(LOGIN_DEADLINE if person.questions is None else PERSON_DEADLINE):
                ssh = await asyncssh.connect(
                    settings.hostname,
                    settings.port,
                    tunnel=tunnel,
                    config=None,
                    client_factory=lambda: client,
                    username=settings.user,
                    known_hosts=known,
                    client_keys=None,
                    agent_path=client.agent_path(),
                    agent_forwarding=False if serve_agent is None else NO_AGENT,
                    gss_host=None,
                    rekey_bytes=1 << 30,
                    login_timeout=PERSON_DEADLINE,
                    keepalive_interval=ALIVE_INTERVAL,
                    keepalive_count_max=MAX_ALIVE_MISSED,
                )
        except TimeoutError:
            raise IroshError(ErrorCode.TIMEOUT, f"{settings.hostname} does not answer as an SSH server") from None
        except asyncssh.PermissionDenied:
            raise IroshError(
                ErrorCode.DENIED,
                f"{settings.hostname} refused the login of {settings.user}",
                "its authorized_keys may take this machine's key: irosh identity export-ssh --authorized-key",
            ) from None
        except asyncssh.HostKeyNotVerifiable:
            raise
        except (asyncssh.Error, OSError) as error:
            raise IroshError(
                ErrorCode.CONNECTION_LOST, f"the SSH server at {settings.hostname} failed: {error}"
            ) from None
        if serve_agent is not None:
            offer_agent(ssh, serve_agent)
        return SSHLink(ssh, tunnel)


class _Client(asyncssh.SSHClient):
    """Answers what the server asks for: keys first, the person last."""

    def __init__(self, settings: SshSettings, identity: Identity, person: Person) -> None:
        self.settings = settings
        self.person = person
        self.unknown_key: asyncssh.SSHKey | None = None
        self._identity = identity
        self._key_files = [Path(path) for path in settings.identity_files]
        self._shown_own_key = False
        self._passwords = 0

    def agent_path(self) -> str | None:
        """The agent whose keys are tried first."""
        if self.settings.identity_agent == "none" or self.settings.identities_only:
            return None
        return self.settings.identity_agent or self.person.agent

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """The key is none of those that are trusted: whoever logs in decides, and comes again."""
        self.unknown_key = key
        return False

    def auth_banner_received(self, msg: str, lang: str) -> None:
        log.info("%s says: %s", self.settings.hostname, escape(msg, 1000))

    async def public_key_auth_requested(self) -> Any:
        while self._key_files:
            key = await self._load(self._key_files.pop(0))
            if key is not None:
                return key
        if self._shown_own_key:
            return None
        self._shown_own_key = True
        return asyncssh.import_private_key(self._identity.openssh_private_key())

    async def _load(self, path: Path) -> asyncssh.SSHKey | None:
        passphrase: str | None = None
        again = ""
        for attempt in range(MAX_ATTEMPTS + 1):
            try:
                return await asyncio.to_thread(asyncssh.read_private_key, path, passphrase)
            except asyncssh.KeyEncryptionError:
                pass  # the passphrase was wrong, or is missing
            except asyncssh.KeyImportError as error:
                if "passphrase" not in str(error).lower():
                    log.warning("%s: %s", path, error)
                    return None
            except OSError:
                return None
            passphrase = await self._secret(f"{again}Passphrase for {path}: ") if attempt < MAX_ATTEMPTS else None
            if not passphrase:
                return None
            again = "That was not it. "
        return None

    async def password_auth_requested(self) -> str | None:
        self._passwords += 1
        if self._passwords > MAX_ATTEMPTS:
            return None
        again = "Permission denied, please try again.\n" if self._passwords > 1 else ""
        return await self._secret(f"{again}Password of {self.settings.user} at {self.settings.hostname}: ")

    def kbdint_auth_requested(self) -> str | None:
        return None if self.person.questions is None else ""

    async def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Any
    ) -> list[str] | None:
        answers = []
        questions = self.person.questions
        self._passwords += bool(prompts)
        if questions is None or self._passwords > MAX_ATTEMPTS:
            return None
        where = f"({self.settings.user}@{self.settings.hostname}) "
        for prompt, echo in prompts:
            text = where + escape(prompt, 300)
            answer = await (questions.text(text) if echo else questions.secret(text))
            if answer is None:
                return None
            answers.append(answer)
        return answers

    async def _secret(self, text: str) -> str | None:
        return None if self.person.questions is None else await self.person.questions.secret(text)
