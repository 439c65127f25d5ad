"""TCP, UDP and Unix-socket tunnels: the receiver names the source it wants, the host's policy allows or refuses it."""
