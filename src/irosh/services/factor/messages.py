"""What host and peer say about second factors: the host challenges, the peer answers, until nothing is missing.

One frame each way in turn. The stream ends after a :class:`FactorStep` that needs nothing more, or is the ``last``.
"""

from __future__ import annotations

import msgspec

from irosh.core.wire import WireError


class FactorRequest(msgspec.Struct, omit_defaults=True):
    """Asks to be asked."""


class FactorStep(msgspec.Struct, omit_defaults=True):
    """The host's words: what is still needed, in order, and a fresh ``nonce`` to bind the answer to.

    ``keys``: public keys of which one may sign, as lines of a ``.pub`` file. ``error``: what was wrong with the last
    answer. ``wait``: seconds before which the next answer is not looked at. ``last``: no further answer is taken.
    ``good_for``: when nothing is needed, seconds for which what was given counts, 0: as long as the session lasts.
    """

    nonce: bytes
    needs: list[str]
    keys: list[str] = []
    error: WireError | None = None
    wait: float = 0.0
    good_for: float = 0.0
    last: bool = False


class FactorAnswer(msgspec.Struct, omit_defaults=True):
    """The peer's answer for the first factor that is needed.

    ``bound``: :func:`irosh.core.second_factor.binding`, which a security key also signs. ``text``: a password or code.
    ``key`` and ``signature``, in the form of SSH: of a security key.
    """

    factor: str
    bound: bytes
    text: str = ""
    key: bytes = b""
    signature: bytes = b""

    def __repr__(self) -> str:
        return f"FactorAnswer(factor={self.factor[:20]!r})"
