"""Sessions that stay on the host while nobody is connected, and that several people may share."""
