"""Sessions: what two nodes share for longer than one connection lasts.

A session carries its streams and datagrams over *carriers*, connections that come and go. Each stream counts its bytes;
what the peer has not acknowledged is kept and sent again over the next carrier, as in Eternal Terminal.
"""
