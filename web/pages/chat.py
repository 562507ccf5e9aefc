"""GET / : the chat page. Everything it shows, it fetches from the same API as any other client."""

from urllib.parse import urlsplit

from flask import Blueprint, Response, make_response, render_template, request

from web.auth import cookies
from web.context import context
from web.pages.static_files import compress
from web.pages.strings import LANGUAGES, STRINGS, THEME_COOKIE, THEMES, Strings, language_of

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def index() -> Response:
    """The page, told which guest's session and whether a login came with it, and which ways in there are.

    The cookies are HttpOnly, so the page cannot look; without these hints every first visit would begin
    with requests that fail.
    """
    options = context().options
    has_login = any(name in request.cookies for name in cookies.LOGIN.names)
    sessions = [request.cookies[name] for name in cookies.SESSION.names if name in request.cookies]
    # A session id without a secret is a user's: the page's address names those.
    guests = [session.partition(".")[0] for session in sessions if "." in session]
    language = language_of(request)
    page = render_template(
        "index.html",
        language=language,
        languages=[(code, STRINGS[code]["name"]) for code in LANGUAGES],
        theme=theme if (theme := request.cookies.get(THEME_COOKIE)) in THEMES else None,
        t=Strings(language),
        words=f"js/ui/strings/{language}.js",
        root_path=request.script_root,
        has_login=has_login,
        guest_session=guests[0] if guests else None,
        demonstration=context().services.models.demonstration,
        registration=options.registration == "open",
        provider=options.oidc_issuer and urlsplit(options.oidc_issuer).hostname,
    )
    response = make_response(page)
    response.headers["Cache-Control"] = "no-cache"
    response.vary.update(("Cookie", "Accept-Language"))
    response.content_language.add(language)
    return compress(response)


@blueprint.get("/c/<session_id>")
def conversation(session_id: str) -> Response:
    """The same page, whatever session the address names.

    Who may see it is decided where the page asks for it, so the document tells nobody which sessions there are.
    """
    return index()
