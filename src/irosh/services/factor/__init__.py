"""The factor service: a peer gives what its host requires beyond its identity."""
