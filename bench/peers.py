"""Many idle peers in one process, for measuring what each costs its host.

``python -m bench.peers DIRECTORY`` reads a ticket and then numbers from standard input, each on a line; for each
number it connects that many more peers, each with a state directory of its own, and prints ``connected``.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from itertools import count
from pathlib import Path

from bench.nodes import client_state
from irosh.assembly import NodeOptions, assembled_node
from irosh.node.target_request import TargetRequest


async def main(directory: Path) -> None:
    """Serve standard input until it ends."""
    ticket = (await asyncio.to_thread(sys.stdin.readline)).strip()
    names = count(1)
    async with contextlib.AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        nodes = await stack.enter_async_context(contextlib.AsyncExitStack())
        while line := await asyncio.to_thread(sys.stdin.readline):
            for _ in range(int(line)):
                options = NodeOptions(state=client_state(directory / str(next(names))), hosting=False)
                node = await nodes.enter_async_context(assembled_node(options))
                ready = asyncio.Event()
                task = group.create_task(node.run(ready.set))
                nodes.push_async_callback(asyncio.wait, [task])
                nodes.callback(node.stop)
                await ready.wait()
                await node.reach(TargetRequest(target=ticket))
            print("connected", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
