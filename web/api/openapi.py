"""/openapi.json: the API's description for programs."""

from flask import Blueprint, Response, current_app, jsonify

from web.api.operation import operation
from web.auth.access import PUBLIC
from web.openapi.document import document_of

blueprint = Blueprint("docs", __name__)


@blueprint.get("/openapi.json")
@operation(access=PUBLIC, answers={200: "application/json"})
def openapi() -> Response:
    """Read this description, in OpenAPI 3.1."""
    response = jsonify(document_of(current_app))
    response.headers["Cache-Control"] = "no-cache"  # the same for all, and may be kept; but ask
    response.add_etag()
    return response
