"""How busy a host is, told to peers that may know: small frames in the background."""
