"""irosh: secure peer-to-peer shells, tunnels and commands on any machine you own."""

__version__ = "0.1.0"
