"""Benchmarks: irosh side by side with what it has to beat, in one run on one machine. ``python -m bench --help``."""
