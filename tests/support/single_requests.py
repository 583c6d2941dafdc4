"""One request by the real transport, without retries."""

import asyncio

from qurating.judging.endpoint import transport
from qurating.judging.endpoint.base import Endpoint, NoReplyError, Request

Found = tuple[int, bytes] | tuple[str, bool]  # status and content, or the error and whether the request may be lost


async def send(sender: transport.Sender) -> Found:
    try:
        reply = await sender.send(Request(0, {"n": 1}))
    except NoReplyError as error:
        return str(error), error.lost
    return reply.status, reply.content


def send_once(where: Endpoint) -> Found:
    async def sent() -> Found:
        async with transport.opened(where) as sender:
            return await send(sender)

    return asyncio.run(sent())
