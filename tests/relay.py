"""A relay on 127.0.0.1: `python relay.py PORT TARGET [HANGING]`. It dies as a server does; the objects behind it stay.

Its first HANGING connections are accepted and never answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _relay(port: int, target: int, hanging: int = 0) -> None:
    number = itertools.count()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if next(number) < hanging:
            await asyncio.Event().wait()
        there, back = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(_pump(reader, back), _pump(there, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_relay(*map(int, sys.argv[1:])))
