"""Dialling a route: its relays tried side by side, a deadline for all, and a reason when nothing answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import short_id
from irosh.transport.interfaces import Connection, Route

DIAL_DEADLINE = 30.0
# Several relays in one route are tried side by side, each this long after the one before (RFC 8305's idea).
STAGGER = 1.0
# A dial that has not come through by then has its relays asked what is wrong.
PROBE_AFTER = 3.0

Connect = Callable[[Route], Awaitable[Connection]]
Probe = Callable[[str], Awaitable[IroshError | None]]


async def dial_route(route: Route, connect: Connect, probe: Probe) -> Connection:
    """The first connection that ``connect`` makes by way of any relay or address of ``route``.

    ``probe`` says what is wrong with a relay. ``IroshError``: what ``connect`` raised if it is more than silence, such
    as identity-mismatch; else unreachable, or the relay's own fault when there is no other way.
    """
    # The engine takes one relay for each attempt; the addresses go with every attempt.
    attempts = [Route(route.endpoint_id, (relay,), route.addresses) for relay in route.relays] or [route]
    racing = asyncio.ensure_future(_race(attempts, connect))
    probing = asyncio.ensure_future(_probe_later(route, probe))
    try:
        async with asyncio.timeout(DIAL_DEADLINE):
            await asyncio.wait((racing, probing), return_when=asyncio.FIRST_COMPLETED)
            if not racing.done() and not route.addresses and len(probing.result()) == len(attempts):
                raise probing.result()[0]  # no address, and no relay that serves us: nothing to wait for
            return await racing
    except TimeoutError:
        raise _unreachable(route, _result(probing)) from None
    except IroshError as error:
        if error.code is ErrorCode.UNREACHABLE:
            raise _unreachable(route, _result(probing)) from error
        raise
    finally:
        for task in (racing, probing):
            task.cancel()
        await asyncio.gather(racing, probing, return_exceptions=True)


async def _race(attempts: Sequence[Route], connect: Connect) -> Connection:
    running: set[asyncio.Future[Connection]] = set()
    waiting = list(attempts)
    failures: list[IroshError] = []
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.ensure_future(connect(waiting.pop(0))))
            done, running = await asyncio.wait(
                running, timeout=STAGGER if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                try:
                    return task.result()
                except IroshError as error:
                    failures.append(error)
    finally:
        for task in running:
            task.cancel()
        for late in await asyncio.gather(*running, return_exceptions=True):
            if not isinstance(late, BaseException):
                late.close()
    # Silence on one way says less than an answer, even a bad one, on another.
    raise min(failures, key=lambda error: error.code is ErrorCode.UNREACHABLE)


async def _probe_later(route: Route, probe: Probe) -> list[IroshError]:
    if not route.relays:
        return []
    await asyncio.sleep(PROBE_AFTER)
    found = await asyncio.gather(*(probe(url) for url in route.relays))
    return [problem for problem in found if problem is not None]


def _result(probing: asyncio.Future[list[IroshError]]) -> list[IroshError]:
    return probing.result() if probing.done() else []


def _unreachable(route: Route, relay_problems: Sequence[IroshError]) -> IroshError:
    if relay_problems and not route.addresses:
        return relay_problems[0]
    tried = [*route.addresses[:4], *(f"relay {url}" for url in route.relays)]
    if not tried:
        return IroshError(
            ErrorCode.UNREACHABLE,
            f"no address is known for {short_id(route.endpoint_id)}…, and discovery did not find it",
            "connect with a ticket once: `irosh invite` on the host prints one",
        )
    hint = "is `irosh host` running there, on a network or relay that this machine reaches?"
    return IroshError(
        ErrorCode.UNREACHABLE,
        f"the peer does not answer (tried {', '.join(tried)})",
        relay_problems[0].message if relay_problems else hint,
    )
