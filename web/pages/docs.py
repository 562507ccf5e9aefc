"""GET /docs: the API's description as a page."""

from typing import Any

from flask import Blueprint, Response, current_app, make_response, render_template

from web.openapi.document import document_of
from web.pages.static_files import compress

blueprint = Blueprint("docs_page", __name__)


@blueprint.get("/docs")
def page() -> Response:
    """The description, rendered here: nothing is fetched from elsewhere."""
    response = make_response(render_template("docs.html", document=document_of(current_app), named=_named))
    response.headers["Cache-Control"] = "no-cache"  # the same for all, and may be kept; but ask
    compress(response).add_etag()
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
