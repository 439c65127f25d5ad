"""Identity, tickets, trust, capabilities, configuration, state and wire codecs. No network code."""
