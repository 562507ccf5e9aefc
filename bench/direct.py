"""The least that any web application can do to create a session, for bench/create.py. For each request it inserts a
row and commits, in one process, asynchronously, over a pool of connections."""

import asyncio
import secrets
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection

import aiohttp
import psycopg
from aiohttp import web
from sqlalchemy import make_url
from uuid_utils.compat import uuid7

from core.secret import digest

VERSION = f"aiohttp {aiohttp.__version__}, psycopg {psycopg.__version__}"
POOL_SIZE = 16
INSERT = """
    INSERT INTO session (id, secret_hash, last_model, version, created_at, expires_at, ends_at)
    VALUES (%s, %s, %s, 1, %s, %s, %s)
"""


def run(control: Connection, database_url: str, port: int) -> None:
    """The process. Says so when it takes requests."""
    asyncio.run(_serve(control, make_url(database_url).set(drivername="postgresql").render_as_string(False), port))


async def _serve(control: Connection, conninfo: str, port: int) -> None:
    pool: asyncio.LifoQueue[psycopg.AsyncConnection] = asyncio.LifoQueue()
    for _ in range(POOL_SIZE):
        pool.put_nowait(await psycopg.AsyncConnection.connect(conninfo))

    async def create(_: web.Request) -> web.Response:
        session_id, secret, now = uuid7(), secrets.token_urlsafe(32), datetime.now(UTC)
        row = (session_id, digest(secret), "smollm2", now, now + timedelta(minutes=30), now + timedelta(days=1))
        connection = await pool.get()
        try:
            await connection.execute(INSERT, row)
            await connection.commit()
        finally:
            pool.put_nowait(connection)
        response = web.json_response({"session_id": str(session_id), "created_at": now.isoformat()}, status=201)
        response.set_cookie("session", f"{session_id}.{secret}", httponly=True)
        return response

    app = web.Application()
    app.router.add_post("/session/create", create)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    control.send("ready")
    await asyncio.Event().wait()
