"""How this program can be started again, by other programs and by itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def own_command() -> list[str]:
    """The command, with absolute paths, that starts the irosh that is running now."""
    script = Path(sys.argv[0])
    if script.name == "irosh" and script.is_file() and os.access(script, os.X_OK):
        return [str(script.absolute())]
    # -P: whoever can write to the directory in which ssh is started must not be able to name our modules.
    return [sys.executable, "-P", "-m", "irosh"]
