"""The page for people: `GET /` in a browser, and the files in `tracker/page` that it is made of, at `/page/<file>`.

The page loads nothing from elsewhere, and its policy lets it load nothing else.
"""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from importlib.resources import files

from quart import Blueprint, Response, request
from quart_schema import hide
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import NotFound
from werkzeug.http import parse_accept_header

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class File:
    """A file as it is served."""

    content: bytes
    content_type: str
    etag: str


def _load() -> dict[str, File]:
    found = {}
    for entry in files("tracker").joinpath("page").iterdir():
        if entry.is_file():
            found[entry.name] = _file(entry.name, entry.read_bytes())
    return found


def _file(name: str, content: bytes) -> File:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return File(content, f"{kind}; charset=utf-8", hashlib.sha256(content).hexdigest()[:20])


_FILES = _load()
SWAGGER = ("swagger-ui-bundle.js", "swagger-ui.css")
"""The files of Swagger UI that the documentation needs. They come with the package flask-swagger-ui, and are read when
they are asked for."""


def blueprint() -> Blueprint:
    """The resource `/page/<file>`."""
    routes = Blueprint("page", __name__)

    @routes.get("/page/<name>")
    @hide
    async def get_file(name: str) -> Response:
        if name not in _FILES:
            raise NotFound(f"The page has no file {name[:40]!r}. It begins at / in a browser.")
        response = answer(_FILES[name])
        # A module is of use in the pages of others, too; it is the events that are guarded.
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    return routes


def wanted(accept: str) -> bool:
    """Whether someone whose header Accept this is prefers a page to JSON: browsers do, programs that take anything get
    JSON."""
    best = MIMEAccept(parse_accept_header(accept)).best_match(["application/json", "text/html"])
    return best == "text/html"


def page(name: str = "index.html", policy: str = _POLICY) -> Response:
    """A whole page, and what it may load."""
    response = answer(_FILES[name])
    response.headers["Content-Security-Policy"] = policy
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def swagger(name: str) -> File:
    """One of the files of Swagger UI."""
    return _file(name, files("flask_swagger_ui").joinpath("dist", name).read_bytes())


def answer(file: File) -> Response:
    """The answer that carries a file, or says that it is the same as before."""
    # To be asked for each time, and sent only if it is new: so a new tracker has a new page at once.
    headers = {"Cache-Control": "no-cache", "ETag": f'"{file.etag}"', "X-Content-Type-Options": "nosniff"}
    if request.if_none_match.contains(file.etag):
        return Response(b"", 304, headers)
    return Response(file.content, 200, headers, content_type=file.content_type)
