"""What a node measures of its connections: collected here, shown by ``irosh status`` and ``irosh metrics``."""
