"""What browsers are told about every answer (OWASP ASVS 5, 3.4)."""

from flask import Flask, Response, g, request

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""Only what this server serves, nothing inline: markup that slips into an answer can't act or call home."""
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # for browsers that don't know frame-ancestors
}
STRICT_TRANSPORT_SECURITY = "max-age=31536000"
"""A year. Not for subdomains: those may be other servers'."""
# Almost every answer depends on the request's credentials. Those that don't, such as static files, say so.
_DEFAULTS = {**SECURITY_HEADERS, "Cache-Control": "no-store"}
_NO_DOCUMENT = {name: SECURITY_HEADERS[name] for name in ("Cross-Origin-Resource-Policy", "X-Content-Type-Options")}
_TRANSPORT = {"Strict-Transport-Security": STRICT_TRANSPORT_SECURITY}


def register(app: Flask) -> None:
    """Add the headers."""
    app.after_request(_add_headers)


def no_document() -> None:
    """The answer is code or a style sheet, which acts by the policy of the document that loads it: all that browsers
    need with it is that it is nothing else, and nobody else's. The page fetches dozens of them."""
    g.is_no_document = True


def _add_headers(response: Response) -> Response:
    given = {name.lower() for name, _ in response.headers}
    wanted = _NO_DOCUMENT if g.get("is_no_document") else _DEFAULTS
    for name, value in {**wanted, **(_TRANSPORT if request.is_secure else {})}.items():
        if name.lower() not in given:
            response.headers.add(name, value)
    return response
