"""The tests, one folder for each layer of ``irosh``; ``lab`` is what they share, ``e2e`` drives real processes."""
