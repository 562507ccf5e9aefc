"""Whether this machine's own servers answer."""

from typing import Any

import httpx2

TIMEOUT = httpx2.Timeout(2.0)
"""Seconds to wait for a part of the system to connect or answer."""


def local_client() -> httpx2.AsyncClient:
    """A client for this machine's own servers, which no proxy of the environment stands before."""
    return httpx2.AsyncClient(timeout=TIMEOUT, trust_env=False)


async def problem_at(client: httpx2.AsyncClient, url: str, **options: Any) -> str | None:
    """Why GET `url` is not answered with 200, in a few words, or None when it is."""
    try:
        answer = await client.get(url, **options)
    except httpx2.TimeoutException:
        return f"no answer from {url} within {TIMEOUT.read:.0f} s"
    except httpx2.HTTPError as error:
        return f"no answer from {url} ({error or type(error).__name__})"
    if answer.status_code == httpx2.codes.OK:
        return None
    detail = ""
    if "json" in answer.headers.get("content-type", ""):
        body = answer.json()
        detail = f": {body['detail']}" if isinstance(body, dict) and body.get("detail") else ""
    return f"{url} answers {answer.status_code}{detail}"
