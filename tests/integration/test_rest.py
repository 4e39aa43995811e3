"""The REST resources, as clients see them."""

from __future__ import annotations

import httpx


async def test_put_is_accepted_with_its_position(client: httpx.AsyncClient) -> None:
    answer = await client.put("/7", params={"data": "test data"})
    assert (answer.status_code, answer.content) == (202, b"")
    assert "content-type" not in answer.headers
    epoch, shard, number = answer.headers["Event-Position"].split("-")
    assert (len(epoch), shard, number) == (12, "0", "1")
