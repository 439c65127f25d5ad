"""How two nodes find a path to each other. Every mode hands back the same ``Connection``."""
