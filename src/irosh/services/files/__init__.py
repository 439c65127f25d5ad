"""The file service: a peer's files on the host, within the trees that it was granted."""
