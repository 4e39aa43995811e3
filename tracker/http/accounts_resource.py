"""`GET /<id>`, `PATCH /<id>`, `POST /`, `GET /accounts`: accounts."""

from __future__ import annotations

import json
from typing import Any, TypeVar, cast
from urllib.parse import urlencode

import msgspec
from quart import Blueprint, Response, request

from shared.errors import Refused
from shared.events import account_id
from tracker.accounts import Account, Accounts, Name
from tracker.http import query as queries
from tracker.http.documentation import ID, answer, content, describe, query

T = TypeVar("T")

MAX_LIMIT = 1000
DEFAULT_LIMIT = 100
_KNOWN = ("after", "limit", "active", "name")
_EXAMPLE = {"ID": 1000, "Name": "4cc2e9b3", "IsActive": True}


class NewAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /`."""

    name: Name = msgspec.field(name="Name")
    is_active: bool = msgspec.field(name="IsActive", default=True)


class AccountChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `PATCH /<id>`: what is not given stays."""

    name: Name | msgspec.UnsetType = msgspec.field(name="Name", default=msgspec.UNSET)
    is_active: bool | msgspec.UnsetType = msgspec.field(name="IsActive", default=msgspec.UNSET)


class AccountsPage(msgspec.Struct, frozen=True, rename="pascal"):
    """A page of accounts."""

    accounts: list[Account]


def blueprint(accounts: Accounts) -> Blueprint:
    """The resource, over running `Accounts`."""
    routes = Blueprint("accounts", __name__)

    @routes.get("/accounts")
    @describe(
        "accounts",
        {
            200: answer(
                "A page of accounts, by ID.",
                content("application/json", AccountsPage, {"Accounts": [_EXAMPLE]}),
                headers={"Link": ('The next page, with rel="next", if there is one.', {"type": "string"})},
            )
        },
        refused=[400, 503],
        parameters=[
            query("after", "Begin after this ID.", {"type": "integer", "minimum": 0, "default": 0}),
            query(
                "limit",
                "At most so many.",
                {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
            ),
            query("active", "Only those that are active, or only those that are not.", {"type": "boolean"}),
            query(
                "name",
                "How the name begins, in any case.",
                {"type": "string", "maxLength": 255, "pattern": "^[^\\x00]*$"},
            ),
        ],
    )
    async def get_page() -> Response:
        """Return accounts, page by page."""
        asked = parse_query(request.query_string)
        found = await accounts.page(asked.after, asked.limit + 1, asked.active, asked.name)
        page, more = found[: asked.limit], found[asked.limit :]
        headers = {"Cache-Control": "no-store"}
        if more:
            headers["Link"] = f'</accounts?{asked.next(page[-1].id)}>; rel="next"'
        return Response(msgspec.json.encode(AccountsPage(page)), 200, headers, content_type="application/json")

    @routes.get("/<id>")
    @describe(
        "accounts",
        {200: answer("The account.", content("application/json", Account, _EXAMPLE))},
        refused=[400, 404, 503],
        parameters=[ID],
    )
    async def get(id: str) -> Response:
        """Return an account."""
        return _answer(await accounts.get(account_id(id)))

    @routes.post("/")
    @describe(
        "accounts",
        {
            201: answer(
                "The new account.",
                content("application/json", Account, _EXAMPLE),
                headers={"Location": ("Its URL.", {"type": "string", "pattern": "^/[0-9]+$"})},
            )
        },
        refused=[400, 408, 413, 503, 504],
        body=content("application/json", NewAccount, {"Name": "4cc2e9b3", "IsActive": True}),
    )
    async def post() -> Response:
        """Make an account."""
        new = await _body(NewAccount)
        account = await accounts.create(new.name, new.is_active)
        return _answer(account, 201, {"Location": f"/{account.id}"})

    @routes.patch("/<id>")
    @describe(
        "accounts",
        {200: answer("The account as it is now.", content("application/json", Account, _EXAMPLE))},
        refused=[400, 404, 408, 413, 503, 504],
        parameters=[ID],
        body=content("application/json", AccountChange, {"IsActive": False}),
    )
    async def patch(id: str) -> Response:
        """Change an account's name, its state, or both."""
        account = account_id(id)
        change = await _body(AccountChange)
        if change.name is msgspec.UNSET and change.is_active is msgspec.UNSET:
            raise Refused('There is nothing to change; send "Name", "IsActive" or both.')
        return _answer(await accounts.update(account, _given(change.name), _given(change.is_active)))

    return routes


class AccountsQuery(msgspec.Struct, frozen=True):
    """What `GET /accounts` asks for: a page of the accounts after an ID, all or some."""

    after: int
    limit: int
    active: bool | None
    name: str
    """How the names begin, in any case."""

    def next(self, after: int) -> str:
        """The query string for the page after an account."""
        some = {"active": "true" if self.active else "false"} if self.active is not None else {}
        named = {"name": self.name} if self.name else {}
        return urlencode({"after": after, "limit": self.limit, **some, **named})


def parse_query(text: bytes) -> AccountsQuery:
    """Return what a query string asks for. Raises Refused."""
    given = queries.parse(text, _KNOWN, "accounts")
    after = queries.once(given, "after") or "0"
    active = queries.once(given, "active")
    if active not in (None, "true", "false"):
        raise Refused(f"active={active[:40]!r} is neither: expected true or false, or no active= for all accounts.")
    name = queries.once(given, "name") or ""
    if len(name) > 255 or "\x00" in name:
        raise Refused("name= is no beginning of a name: expected 1 to 255 characters, and no NUL among them.")
    return AccountsQuery(
        0 if after == "0" else account_id(after),
        queries.limit(queries.once(given, "limit"), "accounts", DEFAULT_LIMIT, MAX_LIMIT),
        None if active is None else active == "true",
        name,
    )


def _given(value: T | msgspec.UnsetType) -> T | None:
    return None if value is msgspec.UNSET else value


def _answer(account: Account, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(account), status, headers, content_type="application/json")


async def _body(kind: type[T]) -> T:
    if request.mimetype != "application/json":
        given = f"not {request.mimetype}" if request.mimetype else "and the header Content-Type to say so"
        raise Refused(f"The body must be of type application/json, {given}.")
    return parse(cast(bytes, await request.get_data(cache=False)), kind)


def parse(body: bytes, kind: type[T]) -> T:
    """Return the body as what it should be. Raises Refused, saying where it differs."""
    try:
        json.loads(body, object_pairs_hook=_without_doubles)
        parsed = msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Refused(f"The body is no such JSON as expected here: {reason}.") from None
    if "\x00" in (getattr(parsed, "name", None) or ""):
        raise Refused("A Name can't hold the character NUL.")
    return parsed


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for key, value in pairs:
        if key in keys:
            raise ValueError(f"the key {key[:40]!r} is there more than once")
        keys[key] = value
    return keys
