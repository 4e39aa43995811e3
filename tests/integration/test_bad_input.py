"""What clients should not send, and the answer that each of it gets."""

from __future__ import annotations

import httpx
import pytest
import redis

JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain"}
KIB_64 = 64 * 1024


def check_problem(answer: httpx.Response, status: int, detail: str = "") -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert detail in answer.json()["detail"]
    assert len(answer.content) < 2000


def events(redis_url: str, account: int = 7) -> list[str]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as connection:
        return [entry["event"] for _, entry in connection.xrange(f"{{events:0}}:{account}")]


async def put_query(client: httpx.AsyncClient, data: str) -> httpx.Response:
    # httpx refuses to make a URL this long
    return await client.put("/7", extensions={"target": f"/7?data={data}".encode()})


async def test_ids(client: httpx.AsyncClient) -> None:
    bad = ("0", "00", "-1", "+1", "abc", "1.5", "1e3", "0x7", "%20", "7%20", "7%0A", "%00", "7%00", "%D9%A1", "%FF")
    for text in (*bad, "9" * 5000, "_7", "7_0", "%2B7", "nan", "%F0%9F%98%80"):
        for method in ("GET", "PATCH", "PUT"):
            sent = {"PATCH": b'{"Name":"n"}'}.get(method, b"")
            answer = await client.request(method, f"/{text}?data=x", content=sent, headers=JSON if sent else {})
            check_problem(answer, 400, "is no account ID")
    for text in ("99999999999999999999", "2147483647", "2147483648", "9223372036854775808", "1001", "9" * 400):
        for method in ("GET", "PATCH", "PUT"):
            sent = {"PATCH": b'{"Name":"n"}'}.get(method, b"")
            answer = await client.request(method, f"/{text}?data=x", content=sent, headers=JSON if sent else {})
            check_problem(answer, 404, "There is no account")
    assert (await client.get("/007")).json()["ID"] == 7


async def test_data_that_is_none(client: httpx.AsyncClient, redis_url: str) -> None:
    check_problem(await client.put("/7"), 400, "There is no data")
    check_problem(await client.put("/7?date=x"), 400, "There is no data")
    check_problem(await client.put("/7", content=b"", headers=TEXT), 400, "There is no data")
    check_problem(await client.put("/7", content=b"", headers=JSON), 400, "There is no data")
    for query in ("data=", "data", "data=&a=b"):
        check_problem(await client.put(f"/7?{query}"), 400, "The data is empty")
    check_problem(await client.put("/7?data=a&data=b"), 400, "more than once")
    check_problem(await client.put("/7?data=a", content=b"b"), 400, "more than once")
    for mime in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "é", "text/html", "a" * 5000):
        answer = await client.put("/7", content=b"data=a", headers=[(b"Content-Type", mime.encode())])
        check_problem(answer, 400, "is no data for an event")
    assert events(redis_url) == []


async def test_data_that_is_no_text(client: httpx.AsyncClient, redis_url: str) -> None:
    for query in ("data=%FF", "data=%C3", "data=%ED%A0%80", "data=%F8%88%80%80%80", "data=%C0%80"):
        check_problem(await client.put(f"/7?{query}"), 400, "UTF-8")
    for body in (b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xff\xfea\x00"):
        check_problem(await client.put("/7", content=body, headers=TEXT), 400, "UTF-8")
        check_problem(await client.put("/7", content=b'"' + body + b'"', headers=JSON), 400, "JSON")
    assert events(redis_url) == []


BAD_JSON = {
    "nothing": b" ",
    "half": b'{"a":',
    "two": b"1 2",
    "nan": b"NaN",
    "quotes": b"{'a':1}",
    "comma": b"[1,]",
    "control": b'"\n"',
    "surrogate": rb'"\ud800"',
    "surrogate-key": rb'{"\udfff":1}',
    "bom": b"\xef\xbb\xbf1",
    "utf-16": '"a"'.encode("utf-16"),
    "nul": b"1\x00",
    "zeros": b"007",
    "deep": b"[" * 100_000,
    "deep-and-closed": b"[" * 30_000 + b"]" * 30_000,
    "deep-keys": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
}


@pytest.mark.parametrize("body", BAD_JSON.values(), ids=BAD_JSON)
async def test_data_that_is_no_json(client: httpx.AsyncClient, redis_url: str, body: bytes) -> None:
    check_problem(await client.put("/7", content=body, headers=JSON), 400)
    check_problem(await client.post("/", content=body, headers=JSON), 400)
    check_problem(await client.patch("/7", content=body, headers=JSON), 400)
    assert events(redis_url) == []


async def test_numbers_of_any_size(client: httpx.AsyncClient) -> None:
    for body in (b"1" * 5000, b"-" + b"9" * 60_000, b"1e400", b"0." + b"1" * 5000, b"1e-999999999"):
        answer = await client.put("/7", content=body, headers=JSON)
        assert answer.status_code == 202 or check_problem(answer, 400) is None
        check_problem(await client.post("/", content=b'{"Name":%b}' % body, headers=JSON), 400)


async def test_data_of_the_largest_size(client: httpx.AsyncClient, redis_url: str) -> None:
    fits, over = "a" * (KIB_64 - 2), "a" * (KIB_64 - 1)
    escaped, spaced = "%22" * (KIB_64 // 2 - 1), "%20" * (KIB_64 - 2)
    for query in (fits, escaped, spaced):
        assert (await put_query(client, query)).status_code == 202
    for query in (over, escaped + "a", spaced + "a"):
        check_problem(await put_query(client, query), 413, f"takes {KIB_64 + 1} bytes")
    assert (await client.put("/7", content=fits)).status_code == 202
    check_problem(await client.put("/7", content=over), 413, f"takes {KIB_64 + 1} bytes")
    assert (await client.put("/7", content=f'"{fits}"', headers=JSON)).status_code == 202
    assert (await client.put("/7", content=f'  "{fits}"\n', headers=JSON)).status_code == 202
    check_problem(await client.put("/7", content=f'"{over}"', headers=JSON), 413, f"takes {KIB_64 + 1} bytes")
    check_problem(await client.put("/7", content=b"a" * (5 * KIB_64)), 413)
    assert len(events(redis_url)) == 6


async def test_data_that_is_strange_and_good(client: httpx.AsyncClient, redis_url: str) -> None:
    for query in ("%00", "%0A%0D", "%1B%5B2J", "%E2%80%A8", "%22%5C", "%EF%BF%BF", "+", "a%2Bb", "a;b", "a=b", "%26"):
        assert (await client.put(f"/7?data={query}")).status_code == 202
    for body in (b"\x00", b"\n", b"\xef\xbb\xbfa", b" "):
        assert (await client.put("/7", content=body)).status_code == 202
    assert (await client.put("/7", content=b'{"a":1,"a":2}', headers=JSON)).status_code == 202
    stored = events(redis_url)
    assert len(stored) == 16
    assert all(event.isprintable() or "\u2028" in event or "\ufeff" in event or "\uffff" in event for event in stored)


BAD_ACCOUNTS = {
    "no-name": (b"{}", ""),
    "name-number": (b'{"Name":1}', "Name"),
    "name-null": (b'{"Name":null}', "Name"),
    "name-empty": (b'{"Name":""}', "Name"),
    "name-256": (b'{"Name":"%b"}' % (b"a" * 256), "255"),
    "name-nul": (rb'{"Name":"a\u0000b"}', "NUL"),
    "name-surrogate": (rb'{"Name":"\ud800"}', ""),
    "name-twice": (b'{"Name":"a","Name":"b"}', "more than once"),
    "unknown": (b'{"Name":"a","Age":1}', "Age"),
    "lower-case": (b'{"name":"a"}', "name"),
    "id": (b'{"ID":5000,"Name":"a"}', "ID"),
    "active-text": (b'{"Name":"a","IsActive":"true"}', "IsActive"),
    "active-number": (b'{"Name":"a","IsActive":1}', "IsActive"),
    "active-null": (b'{"Name":"a","IsActive":null}', "IsActive"),
    "list": (b'[{"Name":"a"}]', ""),
    "text": (b'"Name"', ""),
    "latin-1": (b'{"Name":"\xe9"}', ""),
}


@pytest.mark.parametrize(("body", "detail"), BAD_ACCOUNTS.values(), ids=BAD_ACCOUNTS)
async def test_accounts_that_are_none(client: httpx.AsyncClient, body: bytes, detail: str) -> None:
    before = (await client.get("/7")).content
    check_problem(await client.post("/", content=body, headers=JSON), 400, detail)
    check_problem(await client.patch("/7", content=body, headers=JSON), 400, detail)
    assert (await client.get("/7")).content == before
    check_problem(await client.get("/1001"), 404)


async def test_accounts_of_another_type(client: httpx.AsyncClient) -> None:
    good = b'{"Name":"a"}'
    for method, path in (("POST", "/"), ("PATCH", "/7")):
        check_problem(await client.request(method, path), 400, "application/json")
        check_problem(await client.request(method, path, headers=JSON), 400, "JSON")
        check_problem(await client.request(method, path, content=good), 400, "Content-Type")
        check_problem(await client.request(method, path, content=good, headers=TEXT), 400, "not text/plain")
        check_problem(await client.request(method, path, data={"Name": "a"}), 400, "application/json")
        check_problem(await client.request(method, path, content=b"[" * (1 << 20), headers=JSON), 413)


async def test_names_of_the_largest_size(client: httpx.AsyncClient) -> None:
    for letter in ("a", "é", "😀", '"'):
        name = letter * 255
        assert (await client.post("/", json={"Name": name})).json()["Name"] == name
        assert (await client.patch("/7", json={"Name": name})).json()["Name"] == name
        check_problem(await client.post("/", json={"Name": name + letter}), 400, "255")
