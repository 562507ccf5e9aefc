"""The baseline of bench/create.py: what one would write without Switchboard, in FastAPI and asynchronous SQLAlchemy.
For each request it inserts a row and commits.

    DATABASE_URL=postgresql+asyncpg://... python -m uvicorn bench.fastapi_app:app
"""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI, Response
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from core.sessions.credential import Credential
from core.stores.tables import Session

IDLE, ABSOLUTE = timedelta(minutes=30), timedelta(days=1)

app = FastAPI()
new_session = async_sessionmaker(create_async_engine(os.environ["DATABASE_URL"]), expire_on_commit=False)


class Created(BaseModel):
    """The answer, with the fields that Switchboard's has."""

    session_id: UUID
    anonymous: bool
    model: str
    version: int
    created_at: datetime
    expires_at: datetime


async def database() -> AsyncIterator[AsyncSession]:
    """A session of the ORM for one request."""
    async with new_session() as db:
        yield db


@app.post("/session/create", status_code=201)
async def create(response: Response, db: Annotated[AsyncSession, Depends(database)]) -> Created:
    """Create an anonymous session."""
    credential, now = Credential.issue(), datetime.now(UTC)
    session = Session(
        id=credential.session_id,
        secret_hash=credential.secret_hash,
        last_model="smollm2",
        version=1,
        created_at=now,
        expires_at=now + IDLE,
        ends_at=now + ABSOLUTE,
    )
    db.add(session)
    await db.commit()
    response.set_cookie("session", str(credential), max_age=int(ABSOLUTE.total_seconds()), httponly=True)
    return Created(
        session_id=session.id,
        anonymous=True,
        model=session.last_model,
        version=session.version,
        created_at=session.created_at,
        expires_at=session.expires_at,
    )
