"""Endpoints, connections and streams. The only layer that imports the iroh wheel."""
