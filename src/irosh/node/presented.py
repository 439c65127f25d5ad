"""The certificate that this node shows to hosts, besides its identity: read anew for each connection."""

from __future__ import annotations

import logging
from pathlib import Path

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ssh_certificate import MAX_SIZE, certificate_blob

log = logging.getLogger(__name__)


class Presented:
    """``default``: the file for all hosts that no other was named for; it need not be there."""

    def __init__(self, default: Path) -> None:
        self._default = default
        self._chosen: dict[str, Path] = {}

    def choose(self, host_id: str, path: Path) -> None:
        """Show what is in ``path`` to this host from now on. ``IroshError``: usage, certificate-invalid."""
        try:
            _read(path)
        except FileNotFoundError:
            raise IroshError(ErrorCode.USAGE, f"there is no file {path}") from None
        self._chosen[host_id] = path

    def for_host(self, host_id: str) -> bytes:
        """The certificate in the form of SSH; empty when there is none, or none that can be read."""
        path = self._chosen.get(host_id, self._default)
        try:
            return _read(path)
        except FileNotFoundError:
            return b""
        except IroshError as error:
            log.warning("%s is not shown: %s", path, error.message)
            return b""


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            line = file.read(2 * MAX_SIZE + 1).decode("ascii", "replace")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise IroshError(ErrorCode.USAGE, f"cannot read {path}: {error.strerror}") from None
    blob = certificate_blob(line)
    if len(blob) > MAX_SIZE:
        raise IroshError(ErrorCode.CERTIFICATE_INVALID, f"{path} is too large for a certificate")
    return blob
