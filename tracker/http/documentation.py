"""What the API says of itself: `/openapi.json` (OpenAPI 3.1), `/asyncapi.json` (AsyncAPI 3.0, for the WebSocket), and
`/docs`, which shows both.

What is said of a route stands at the route, in its docstring and in `describe`. quart-schema walks the routes; what it
can't say (several media types, headers, problems) is added here. Its extension is not installed in the application: it
would wrap every answer and every WebSocket.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from importlib.metadata import version
from typing import Any, TypeVar

import msgspec
import trio
from quart import Blueprint, Quart, Response
from quart_schema import QuartSchema, hide
from quart_schema.openapi import OpenAPIProvider
from werkzeug.exceptions import NotFound
from werkzeug.routing import Rule

from shared import frames
from tracker.http import page_resource, problems

F = TypeVar("F", bound=Callable[..., Any])
Schema = dict[str, Any]

_DESCRIPTION = "_described"

POSITION: Schema = {
    "type": "string",
    "pattern": "^[A-Za-z0-9._-]{1,200}$",
    "description": "Where an event stands in the log. Opaque; everything after it is what a follower still needs.",
}
EVENT: Schema = {
    "type": "object",
    "description": "An event, as the log has it.",
    "properties": {
        "ID": {"type": "integer", "minimum": 1, "description": "The account."},
        "Timestamp": {
            "type": "string",
            "format": "date-time",
            "description": "When it was accepted, in UTC.",
        },
        "Data": {"description": "What was sent: a string, or any JSON value."},
        "Host": {"type": "string", "description": "The tracker that accepted it."},
        "Position": POSITION,
        "Seq": {"type": "integer", "minimum": 1, "description": "Its number within its account, without holes."},
    },
    "required": ["ID", "Timestamp", "Data", "Host", "Position", "Seq"],
    "additionalProperties": False,
    "examples": [
        {
            "ID": 7,
            "Timestamp": "2026-11-23T17:35:30.000123Z",
            "Data": "test data",
            "Host": "290ad619a440",
            "Position": "6b9522b15de7-0-41",
            "Seq": 42,
        }
    ],
}
ID: Schema = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The account's ID.",
    "schema": {"type": "integer", "minimum": 1},
    "example": 7,
}
IDEMPOTENCY_KEY: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key within 10 minutes gives the first answer again, and makes no second event.",
    "schema": {"type": "string", "pattern": "^[!-~]([ -~]{0,253}[!-~])?$"},
}
_CONTROLS = (frames.Ready, frames.Gap, frames.Lagging, frames.Error, frames.Bye)
_PROBLEMS = {
    400: ("What was asked for can't be: `detail` says what was wrong and what was expected.", "There is no data."),
    403: ("Pages of this origin may not follow events.", "Pages of the origin 'https://other.example' may not …"),
    404: ("There is no such account.", "There is no account 9."),
    406: ("None of the media types in Accept can be had.", "Events come as application/json, …"),
    408: ("The request did not arrive in time.", "The request did not arrive within 10 seconds."),
    413: ("The body, or the data in it, is too large.", "The data takes 70000 bytes as JSON; …"),
    415: ("The body is of another type than expected.", "The body is of no type: expected application/json …"),
    503: (
        "A part is away, or all places are taken. Nothing was done; try again.",
        "The log is not available …",
    ),
    504: ("No answer came in time: it may have been done or not.", "The log gave no answer. It may have …"),
}


def query(name: str, description: str, schema: Schema, example: Any = None) -> Schema:
    """A parameter in the query string."""
    found = {"name": name, "in": "query", "description": description, "schema": schema}
    return found if example is None else {**found, "example": example}


def content(kind: str, schema: Schema | type, example: Any = None) -> Schema:
    """One media type of a body; a class stands for its schema."""
    of = {"$model": schema} if isinstance(schema, type) else schema
    return {kind: {"schema": of} if example is None else {"schema": of, "example": example}}


def answer(description: str, *contents: Schema, headers: Mapping[str, tuple[str, Schema]] | None = None) -> Schema:
    """An answer of the API: its media types, and the headers that matter, each with what it says and its schema."""
    found: Schema = {"description": description}
    if contents:
        found["content"] = {kind: one for each in contents for kind, one in each.items()}
    if headers:
        found["headers"] = {name: {"description": says, "schema": schema} for name, (says, schema) in headers.items()}
    return found


def describe(
    tag: str,
    responses: Mapping[int, Schema],
    refused: Iterable[int] = (),
    parameters: Iterable[Schema] = (),
    body: Schema | None = None,
    body_required: bool = True,
) -> Callable[[F], F]:
    """Say of a route what its docstring does not. `refused` has the statuses of problems, `body` the media types."""

    def decorator(view: F) -> F:
        operation: Schema = {
            "tags": [tag],
            "parameters": list(parameters),
            "responses": {str(status): response for status, response in responses.items()},
        }
        for status in refused:
            operation["responses"][str(status)] = {"$ref": f"#/components/responses/{status}"}
        if body is not None:
            operation["requestBody"] = {"content": body, "required": body_required}
        setattr(view, _DESCRIPTION, operation)
        return view

    return decorator


class Documents:
    """The documents about an application, made once, when the first one is asked for."""

    def __init__(self, app: Quart) -> None:
        info = {"title": "trio-tracker", "version": version("trio-tracker"), "description": _INTRODUCTION}
        self._info = info
        self._provider = _Provider(app, QuartSchema(info=info))

    @cached_property
    def openapi(self) -> bytes:
        return msgspec.json.encode(self._provider.schema())

    @cached_property
    def asyncapi(self) -> bytes:
        return msgspec.json.encode(_asyncapi(self._info))


class _Provider(OpenAPIProvider):
    def schema(self) -> Schema:
        schema: Schema = super().schema()
        models: set[type] = {problems.Problem, frames.Gap, frames.Error}
        schema["paths"] = _resolved(schema["paths"], models)
        _, components = msgspec.json.schema_components(
            sorted(models, key=lambda model: model.__name__), ref_template="#/components/schemas/{name}"
        )
        schema["components"] = {
            "schemas": {**components, "Event": EVENT},
            "responses": {str(status): _problem(status) for status in _PROBLEMS},
        }
        return schema

    def operation_id(self, method: str, path: str, func: Callable[..., Any]) -> str:
        return "_".join([method.lower(), *re.findall(r"[a-z]+", path)])

    def build_paths(self, rule: Rule) -> tuple[Schema, Schema]:
        paths, components = super().build_paths(rule)
        view = self._app.view_functions[rule.endpoint]
        for operations in paths.values():
            for operation in operations.values():
                operation.update(getattr(view, _DESCRIPTION))
                operation["description"] = inspect.cleandoc(operation.get("description", "")).strip()
        return paths, components


def _resolved(value: Any, models: set[type]) -> Any:
    """The same with references to schemas where classes stand. Gathers these."""
    if isinstance(value, list):
        return [_resolved(inner, models) for inner in value]
    if not isinstance(value, dict):
        return value
    if "$model" in value:
        models.add(value["$model"])
        return {"$ref": f"#/components/schemas/{value['$model'].__name__}"}
    return {key: _resolved(inner, models) for key, inner in value.items()}


def _problem(status: int) -> Schema:
    description, detail = _PROBLEMS[status]
    found = content(
        problems.CONTENT_TYPE,
        {"$ref": "#/components/schemas/Problem"},
        msgspec.to_builtins(problems.problem(status, detail)),
    )
    retry = {"Retry-After": ("Seconds to wait.", {"type": "string", "pattern": "^[0-9]+$"})} if status == 503 else None
    return answer(description, found, headers=retry)


_INTRODUCTION = """\
Events for accounts: sent over HTTP, committed to a durable, ordered log before they are answered with 202, and followed
live over WebSocket (described in [asyncapi.json](/asyncapi.json)), as server-sent events or as NDJSON.

Errors are `application/problem+json` (RFC 9457). To a method that a resource does not have the answer is 405, with
`Allow`.
"""

_FOLLOWING = """\
A WebSocket at `/events`: frames come as text messages, one or more in each with newlines between. An event is a frame
as it is; the others are told apart by `Frame`. Whoever comes again with `since=` the last Position it saw misses
nothing and gets nothing twice.

It closes with 1001 (the tracker stops), 1008 (refused), 1009 (message too large), 1011 (fault) or 1013 (too many
followers); before that comes a `bye` frame, which says whether to come again. Quiet connections get a ping every 15 s.
One that reads nothing for 30 s while there is something to read is cut off.
"""
_EXAMPLES: dict[type, Schema] = {
    frames.Ready: {"Frame": "ready", "Position": "6b9522b15de7-0-41"},
    frames.Gap: {"Frame": "gap", "ID": 7, "FromSeq": 12, "ToSeq": 19, "Reason": "trimmed"},
    frames.Lagging: {"Frame": "lagging", "Behind": 5321},
    frames.Error: {"Frame": "error", "ID": 9, "Detail": "There is no account 9."},
    frames.Bye: {"Frame": "bye", "Reason": "shutdown", "Retry": True},
}


def _asyncapi(info: Schema) -> Schema:
    """The WebSocket, as the tracker sees it: it sends frames and receives wishes."""
    _, schemas = msgspec.json.schema_components(_CONTROLS, ref_template="#/components/schemas/{name}")
    messages: Schema = {
        "Event": {
            "title": "An event",
            "contentType": "application/json",
            "payload": {"$ref": "#/components/schemas/Event"},
            "examples": [{"payload": EVENT["examples"][0]}],
        }
    }
    for frame in _CONTROLS:
        messages[frame.__name__] = {
            "title": f"The frame {frame.__struct_config__.tag}",
            "description": inspect.getdoc(frame),
            "contentType": "application/json",
            "payload": {"$ref": f"#/components/schemas/{frame.__name__}"},
            "examples": [{"payload": _EXAMPLES[frame]}],
        }
    ids = {"type": "array", "items": {"type": "integer", "minimum": 1}}
    wish = {
        "type": "object",
        "properties": {"Follow": ids, "Unfollow": ids},
        "additionalProperties": False,
        "minProperties": 1,
    }
    messages["Wish"] = {
        "title": "What is to be followed from now on",
        "description": "At most 1000 accounts in all, and 64 KiB. Not on a stream of all accounts. Once everything up "
        "to here was sent, a ready frame follows.",
        "contentType": "application/json",
        "payload": {"$ref": "#/components/schemas/Wish"},
        "examples": [{"payload": {"Follow": [4, 5], "Unfollow": [1]}}],
    }
    sent = [name for name in messages if name != "Wish"]
    parameters = {
        "type": "object",
        "properties": {
            "account": {
                "description": "An account's ID, any number of times (at most 1000), or `all`. None: say it later.",
                "type": "string",
                "pattern": "^([1-9][0-9]*|all)$",
            },
            "since": {
                "description": "Where to begin: a Position, a duration (`10m`), a time (RFC 3339) or `all`; else now.",
                "type": "string",
            },
        },
    }
    return {
        "asyncapi": "3.0.0",
        "info": info,
        "defaultContentType": "application/json",
        "channels": {
            "events": {
                "address": "/events",
                "description": _FOLLOWING,
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": {"method": "GET", "query": parameters, "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {
            "sendFrames": {
                "action": "send",
                "summary": "Events of the accounts that are followed, and what there is to say of them.",
                "channel": {"$ref": "#/channels/events"},
                "messages": [{"$ref": f"#/channels/events/messages/{name}"} for name in sent],
            },
            "receiveWish": {
                "action": "receive",
                "summary": "A client changes what it follows.",
                "channel": {"$ref": "#/channels/events"},
                "messages": [{"$ref": "#/channels/events/messages/Wish"}],
            },
        },
        "components": {"messages": messages, "schemas": {**schemas, "Event": EVENT, "Wish": wish}},
    }


_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Swagger UI writes styles into its elements, and its icons are data."""


def blueprint(app: Quart) -> Blueprint:
    """The resources. The documents are about `app`, with all that is registered there when one is first asked for."""
    routes = Blueprint("documentation", __name__)
    documents = Documents(app)

    @routes.get("/openapi.json")
    @describe("documentation", {200: answer("OpenAPI 3.1.", content("application/json", {"type": "object"}))})
    async def get_openapi() -> Response:
        """Return this document."""
        return Response(documents.openapi, content_type="application/json")

    @routes.get("/asyncapi.json")
    @describe("documentation", {200: answer("AsyncAPI 3.0.", content("application/json", {"type": "object"}))})
    async def get_asyncapi() -> Response:
        """Return the document about the WebSocket at /events."""
        return Response(documents.asyncapi, content_type="application/json")

    @routes.get("/docs")
    @describe("documentation", {200: answer("A page.", content("text/html", {"type": "string"}))})
    async def get_docs() -> Response:
        """Show both documents to people."""
        return page_resource.page("docs.html", _POLICY)

    @routes.get("/docs/<name>")
    @hide
    async def get_swagger(name: str) -> Response:
        if name not in page_resource.SWAGGER:
            raise NotFound(f"There is no file {name[:40]!r} here. The documentation is at /docs.")
        return page_resource.answer(await trio.to_thread.run_sync(page_resource.swagger, name))

    return routes
