"""Shells and commands: SSH (AsyncSSH at both ends, or a stock client through ``irosh proxy``) over a stream."""
