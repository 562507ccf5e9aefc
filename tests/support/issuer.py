"""A real OpenID Connect issuer: an HTTP server with metadata, keys, an authorization and a token endpoint."""

import base64
import hashlib
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "https://switchboard.example"
CLIENT_ID = "switchboard"
CLIENT_SECRET = "what only the client knows"


class Issuer:
    """The server. Whoever comes to its authorization endpoint is `subject`, and agrees."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.subject = "248289761001"
        self.fetches = 0
        """How often the keys were asked for."""
        self.down = False
        """Whether everything is answered with 503."""
        self.broken_nonce = False
        self.instead: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        """What answers other than it should, by path."""
        self.id_token: dict[str, Any] = {}
        """What ID tokens say other than they should; None takes a claim away."""
        self.id_token_header: dict[str, Any] = {}
        self.said: dict[str, Any] = {}
        """What the metadata say other than they should; None takes it away."""
        self._codes: dict[str, dict[str, str]] = {}
        self.private_keys = _first_keys()
        issuer = self

        class Handler(_Handler):
            owner = issuer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def rotate(self, key_id: str) -> None:
        """Sign with another key from now on; the old ones are gone."""
        self.private_keys = {key_id: ("ES256", ec.generate_private_key(ec.SECP256R1()))}

    def claims(self, **other: Any) -> dict[str, Any]:
        """What a good access token says; None takes a claim away."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": self.subject, "iat": now, "exp": now + 300, **other}
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, key_id: str = "rsa", headers: dict[str, Any] | None = None, **other: Any) -> str:
        """A token signed by the issuer, good unless the caller says otherwise."""
        algorithm, key = self.private_keys[key_id]
        said = {"kid": key_id, "typ": "at+jwt", **(headers or {})}
        said = {name: value for name, value in said.items() if name == "typ" or value is not None}
        return jwt.encode(self.claims(**other), key, algorithm=algorithm, headers=said)

    def public_keys(self) -> dict[str, Any]:
        """The JWK set."""
        return {"keys": [_public(key_id, *pair) for key_id, pair in self.private_keys.items()]}

    def metadata(self) -> dict[str, Any]:
        """The discovery document."""
        metadata = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "code_challenge_methods_supported": ["S256"],
            **self.said,
        }
        return {name: value for name, value in metadata.items() if value is not None}

    def authorize(self, asked: dict[str, str]) -> str:
        """Where the browser is sent back to."""
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT_ID
        assert "openid" in asked["scope"].split()
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def redeem(self, asked: dict[str, str], authorization: str) -> dict[str, Any] | None:
        """The tokens for a code, or None when anything about the request is wrong."""
        begun = self._codes.pop(asked.get("code", ""), None)
        verifier = hashlib.sha256(asked.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).rstrip(b"=").decode()
        # RFC 6749, 2.3.1: both halves are form-encoded before they are put together.
        credentials = f"{CLIENT_ID}:{CLIENT_SECRET}".replace(" ", "+")
        if (
            begun is None
            or challenge != begun["code_challenge"]
            or asked.get("redirect_uri") != begun["redirect_uri"]
            or authorization not in _basic(credentials, f"{CLIENT_ID}:{CLIENT_SECRET}")
        ):
            return None
        nonce = "another's" if self.broken_nonce else begun["nonce"]
        claims = {"aud": CLIENT_ID, "nonce": nonce, **self.id_token}
        id_token = self.token(headers={"typ": "JWT", **self.id_token_header}, **claims)
        return {"access_token": self.token(), "token_type": "Bearer", "expires_in": 300, "id_token": id_token}


@cache
def _first_keys() -> dict[str, tuple[str, Any]]:
    """The same for all issuers of a run: an RSA key takes long to make."""
    return {
        "rsa": ("RS256", rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        "ec": ("ES256", ec.generate_private_key(ec.SECP256R1())),
        "ed": ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
    }


def _basic(*credentials: str) -> list[str]:
    return [f"Basic {base64.b64encode(each.encode()).decode()}" for each in credentials]


def _public(key_id: str, algorithm: str, key: Any) -> dict[str, Any]:
    maker: Any = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}[algorithm]
    return {**maker.to_jwk(key.public_key(), as_dict=True), "kid": key_id, "use": "sig", "alg": algorithm}


def answer_with(status: int, body: bytes, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answers so."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Answers a byte at a time, ten a second, for as long as somebody reads."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{")
    _without_end(handler, b" ", 0.1)


def drip_head(handler: BaseHTTPRequestHandler) -> None:
    """The same, and does not come to the body."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    _without_end(handler, b"x", 0.1)


def flood(handler: BaseHTTPRequestHandler) -> None:
    """Answers with 400 MB."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 400000000\r\n\r\n{")
    _without_end(handler, b" " * 65536, 0)


def _without_end(handler: BaseHTTPRequestHandler, piece: bytes, pause: float) -> None:
    handler.close_connection = True
    try:
        while True:
            handler.wfile.write(piece)
            time.sleep(pause)
    except OSError:  # nobody reads any more
        pass


class _Handler(BaseHTTPRequestHandler):
    owner: Issuer

    def do_GET(self) -> None:
        at = urlsplit(self.path)
        if at.path in self.owner.instead:
            self.owner.instead[at.path](self)
        elif self.owner.down:
            self._answer(503, {})
        elif at.path == "/.well-known/openid-configuration":
            self._answer(200, self.owner.metadata())
        elif at.path == "/keys":
            self.owner.fetches += 1
            self._answer(200, self.owner.public_keys())
        elif at.path == "/authorize":
            self.send_response(302)
            self.send_header("Location", self.owner.authorize(dict(parse_qsl(at.query))))
            self.end_headers()
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        asked = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        if self.path in self.owner.instead:
            self.owner.instead[self.path](self)
            return
        tokens = None if self.owner.down else self.owner.redeem(asked, self.headers.get("Authorization", ""))
        self._answer(200 if tokens else 400, tokens or {"error": "invalid_grant"})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        encoded = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)
