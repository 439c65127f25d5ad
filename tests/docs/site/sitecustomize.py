"""Read by Python at start-up where a page's commands run: a machine calls itself as the page calls it."""

import os
import socket

if name := os.environ.get("DOCUMENTED_MACHINE"):
    socket.gethostname = lambda: name
