"""``python -m irosh``: the same program as ``irosh``."""

from irosh.faces.cli.main import main

if __name__ == "__main__":
    main()
