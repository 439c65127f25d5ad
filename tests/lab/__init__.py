"""A laboratory for end-to-end tests: machines, networks between them, and the programs that run there.

docs/lab.md shows what networks can be built: NATs, firewalls, shaped links, STUN and TURN.

A machine is this one (:data:`~tests.lab.machine.LOCAL`) or a network namespace. Two hosts joined by a router, and a
command run on one of them, are::

    with Network() as network:
        alice, bob, router = network.host("alice"), network.host("bob"), network.router("router")
        network.link(alice, router, "10.1.0.0/24")
        network.link(bob, router, "10.2.0.0/24")
        alice.run("ping", "-c1", bob.address)

``irosh`` on them, each with a state directory of its own::

    host, client = Irosh(alice, tmp_path / "host"), Irosh(bob, tmp_path / "client")
    with host.start("host", "--no-relay") as process:
        ticket = process.wait_event("ready")["ticket"]
        client.run("connect", ticket, "uname")

Everything made is removed at the end of its ``with`` block, after a failure too, and it is an error if a process is
left that nobody stopped. Every wait has a deadline; none sleeps for a fixed time.
"""
