"""Whether 32 bytes are the encoding of a usable Ed25519 public key (RFC 8032 section 5.1.3).

Libraries accept any 32 bytes as a public key and fail only at the first signature. Half of all mistyped keys
are not on the curve at all, so looking early turns a mysterious time-out into a clear message. Works on
public values only: nothing here runs in constant time.
"""

from __future__ import annotations

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P


def is_public_key(encoding: bytes) -> bool:
    """Whether ``encoding`` is a point of the curve, canonically encoded and not of small order.

    A point of small order (such as 32 zero bytes) has signatures that anybody can make, so it names nobody.
    """
    if len(encoding) != 32:
        return False
    number = int.from_bytes(encoding, "little")
    y = number & (2**255 - 1)  # the top bit is the sign of x, which has no say here
    if y >= _P:
        return False
    # -x^2 + y^2 = 1 + d x^2 y^2, so x^2 = u/v; that is a square if and only if u*v is one.
    y2 = y * y % _P
    u, v = y2 - 1, _D * y2 + 1
    small_order = y == 0 or (2 * y2 - 1 + _D * y2 * y2) % _P == 0  # orders 4 and 8, by the doubling formula
    # Euler's criterion, which is 0 for x = 0: the points of orders 1 and 2.
    return not small_order and pow(u * v, (_P - 1) // 2, _P) == 1
