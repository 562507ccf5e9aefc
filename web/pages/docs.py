"""The API's description: /openapi.json for programs, /docs for people."""

from typing import Any

from flask import Blueprint, Response, current_app, jsonify, make_response, render_template

from web.openapi.document import describe
from web.openapi.operation import documented

blueprint = Blueprint("docs", __name__)

_KEY = "switchboard.openapi"


@blueprint.get("/openapi.json")
@documented({200: "application/json"}, access="open")
def openapi() -> Response:
    """This description, in OpenAPI 3.1."""
    return _public(jsonify(_document()))


@blueprint.get("/docs")
def page() -> Response:
    """The same as a page, made here: nothing is fetched from anywhere else."""
    return _public(make_response(render_template("docs.html", document=_document(), named=_named)))


def _document() -> dict[str, Any]:
    """The description of the application, which is complete by the first request."""
    if _KEY not in current_app.extensions:
        current_app.extensions[_KEY] = describe(current_app)
    document: dict[str, Any] = current_app.extensions[_KEY]
    return document


def _public(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-cache"  # the same for every client, and may be kept; but ask
    response.add_etag()
    return response


def _named(schema: dict[str, Any]) -> str:
    """A schema in a few words: `Session`, `string (uuid)`, `array of Message`, `string or null`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_named(each) for each in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " or ".join(f'"{value}"' for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"array of {_named(schema['items'])}"
    kind = str(schema.get("type", "anything"))
    return f"{kind} ({schema['format']})" if "format" in schema else kind
