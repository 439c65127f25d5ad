"""IP packets to networks that a peer can reach: a TUN device at both ends, the packets between as datagrams."""
