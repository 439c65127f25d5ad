"""What an owner asks about sessions and does to them: list, kill, detach, share, who, grant, take, remove, …"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from irosh.core.durations import format_duration
from irosh.core.errors import ErrorCode, IroshError
from irosh.services.shell.persistent.codec import End, Manage
from irosh.services.shell.persistent.participant import Participant
from irosh.services.shell.persistent.registry import SessionRegistry
from irosh.services.shell.persistent.session import PersistentSession
from irosh.services.shell.persistent.sharing import Sharing

ANY = "*"


class Manager:
    """Commands by one who may use ``owner``'s sessions. None: by the owner of this machine, who may use all."""

    def __init__(
        self,
        registry: SessionRegistry,
        owner: str | None,
        name_of: Callable[[str], str],
        sharing: Sharing,
        *,
        may_share: Callable[[], object] | None = None,
    ) -> None:
        """``may_share`` raises ``IroshError`` when the peer may not share its sessions."""
        self._registry = registry
        self._owner = owner
        self._name_of = name_of
        self._sharing = sharing
        self._may_share = may_share
        self._everything = owner is None

    def run(self, asked: Manage, current: PersistentSession | None = None) -> dict[str, Any]:
        """Do it. ``current``: the session that is meant when none is named. ``IroshError`` (session-unknown, …)."""
        commands: dict[str, Callable[[PersistentSession, Manage], dict[str, Any]]] = {
            "kill": self._kill,
            "detach": self._detach,
            "who": self._who,
            "grant": self._grant,
            "take": self._take,
            "remove": self._remove,
            "share": self._share,
            "unshare": self._unshare,
        }
        if asked.command == "list":
            return self._list()
        if asked.command not in commands:
            raise IroshError(ErrorCode.PROTOCOL, f"unknown session command {asked.command[:40]!r}")
        return commands[asked.command](self._session(asked, current), asked)

    def find(self, name: str) -> PersistentSession | None:
        """One's session of that name."""
        found = self._registry.find(self._owner, name)
        if found is None and self._everything:
            named = [each for each in self._registry.sessions() if each.terms.name == name]
            found = named[0] if len(named) == 1 else None
        return found

    def unknown(self, name: str) -> IroshError:
        """That there is none of that name, and why that may be."""
        names = ", ".join(sorted(each.terms.name for each in self._mine())) or "none"
        age = format_duration(max(1, round(time.time() - self._registry.began_at)))
        return IroshError(
            ErrorCode.SESSION_UNKNOWN,
            f"there is no session {name} on the host",
            f"there are: {names}; sessions end with the host's irosh, which has run for {age}",
        )

    def _mine(self) -> list[PersistentSession]:
        return [each for each in self._registry.sessions() if self._everything or each.terms.owner == self._owner]

    def _session(self, asked: Manage, current: PersistentSession | None) -> PersistentSession:
        if asked.name is None:
            if current is not None:
                return current
            mine = self._mine()
            if asked.command not in ("kill", "detach", "share"):
                mine = [each for each in mine if each.share is not None] or mine
            if len(mine) != 1:
                raise IroshError(
                    ErrorCode.USAGE, f"there are {len(mine)} sessions: which one?", "irosh session list shows them"
                )
            return mine[0]
        found = self.find(asked.name)
        if found is None:
            raise self.unknown(asked.name)
        return found

    # -- commands

    def _list(self) -> dict[str, Any]:
        sessions = [_session_fields(each, self._name_of) for each in self._mine()]
        ended = [
            {"name": end.name, "status": end.status, "signal": end.signal, "ended_at": end.ended_at}
            for end in self._registry.outcomes(self._owner)
        ]
        return {"sessions": sessions, "ended": ended, "host_since": self._registry.began_at}

    def _kill(self, session: PersistentSession, _asked: Manage) -> dict[str, Any]:
        session.end("killed")
        return {"killed": session.terms.name}

    def _detach(self, session: PersistentSession, _asked: Manage) -> dict[str, Any]:
        own = [each for each in session.participants if each.owner]
        session.stay()
        for each in own:
            each.end(End(reason="detached", name=session.terms.name))
        return {"session": session.terms.name, "detached": len(own)}

    def _who(self, session: PersistentSession, _asked: Manage) -> dict[str, Any]:
        return {
            "session": session.terms.name,
            "size": [session.size.columns, session.size.rows],
            "participants": [_participant_fields(each) for each in session.participants],
        }

    def _share(self, session: PersistentSession, asked: Manage) -> dict[str, Any]:
        if self._may_share is not None:
            self._may_share()
        return self._sharing.begin(
            session, read_only=asked.read_only, users=asked.users, lifetime=asked.lifetime, by=self._owner
        )

    def _unshare(self, session: PersistentSession, _asked: Manage) -> dict[str, Any]:
        if session.share is None:
            raise IroshError(ErrorCode.USAGE, f"session {session.terms.name} is not shared")
        return {"unshared": session.terms.name, "left": self._sharing.end(session)}

    def _grant(self, session: PersistentSession, asked: Manage) -> dict[str, Any]:
        return self._keyboard(session, asked, may_type=True)

    def _take(self, session: PersistentSession, asked: Manage) -> dict[str, Any]:
        return self._keyboard(session, asked, may_type=False)

    def _keyboard(self, session: PersistentSession, asked: Manage, *, may_type: bool) -> dict[str, Any]:
        guests = self._guests(session, asked)
        for each in guests:
            if session.share is not None and each.peer_id is not None:
                session.share.keyboard[each.peer_id] = may_type
            session.allow_typing(each, may_type)
        return {"session": session.terms.name, "changed": sorted({each.who for each in guests}), "may_type": may_type}

    def _remove(self, session: PersistentSession, asked: Manage) -> dict[str, Any]:
        guests = self._guests(session, asked)
        for each in guests:
            if each.peer_id is not None:
                self._sharing.remove(session, each.peer_id)
            session.put_out(each, "removed")
        return {"session": session.terms.name, "removed": sorted({each.who for each in guests})}

    def _guests(self, session: PersistentSession, asked: Manage) -> list[Participant]:
        guests = [each for each in session.participants if not each.owner]
        if asked.guest not in (None, ANY):
            guests = [each for each in guests if each.who == asked.guest]
        if not guests:
            there = ", ".join(sorted({each.who for each in session.participants if not each.owner})) or "nobody"
            raise IroshError(
                ErrorCode.UNKNOWN_TARGET,
                "no guest is there" if asked.guest in (None, ANY) else f"no guest is called {str(asked.guest)[:40]!r}",
                f"there is: {there}",
            )
        return guests


def _session_fields(session: PersistentSession, name_of: Callable[[str], str]) -> dict[str, Any]:
    terms = session.terms
    return {
        "name": terms.name,
        "owner": None if terms.owner is None else name_of(terms.owner),
        "user": terms.account,
        "command": terms.command,
        "began_at": session.began_at,
        "used_at": session.used_at,
        "size": [session.size.columns, session.size.rows],
        "attached": len(session.participants),
        "shared": session.share is not None,
        "scrollback": len(session.model.screen.history),
    }


def _participant_fields(participant: Participant) -> dict[str, Any]:
    size = participant.size
    return {
        "who": participant.who,
        "id": participant.peer_id,
        "owner": participant.owner,
        "may_type": participant.may_type,
        "size": None if size is None else [size.columns, size.rows],
    }
