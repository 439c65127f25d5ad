"""Read by Python at start-up where a page's commands run: a machine calls itself as the page calls it."""

import os
import socket

machine = os.environ.get("DOCUMENTED_MACHINE", "")
if machine:
    socket.gethostname = lambda: machine
    # Whatever wants the name in full must not ask a name server for it.
    socket.getfqdn = lambda name="": name or machine
