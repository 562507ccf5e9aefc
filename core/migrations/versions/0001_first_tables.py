"""Create people, sessions, generations, messages and the audit log."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LIVE = sa.text("state IN ('queued', 'running')")


def _time(name: str, *, nullable: bool = False) -> "sa.Column[Any]":
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _belongs_to(table: str, owner: str, column: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}_{owner}")
    return sa.ForeignKeyConstraint([column], [f"{owner}.id"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "user",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.Column("password_hash", sa.String(length=256), nullable=True),
        sa.Column("oidc_issuer", sa.String(length=255), nullable=True),
        sa.Column("oidc_subject", sa.String(length=255), nullable=True),
        _time("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user")),
        sa.UniqueConstraint("email", name=op.f("uq_user_email")),
        sa.UniqueConstraint("oidc_issuer", "oidc_subject", name=op.f("uq_user_oidc_issuer_oidc_subject")),
    )
    op.create_table(
        "login",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(length=32), nullable=False),
        _time("created_at"),
        _time("last_used_at"),
        _time("expires_at"),
        _time("ends_at"),
        _belongs_to("login", "user", "user_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login")),
    )
    op.create_index(op.f("ix_login_user_id"), "login", ["user_id"])
    op.create_index(op.f("ix_login_expires_at"), "login", ["expires_at"])
    op.create_table(
        "api_key",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(length=32), nullable=False),
        _time("created_at"),
        _time("last_used_at", nullable=True),
        _belongs_to("api_key", "user", "user_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
    )
    op.create_index(op.f("ix_api_key_user_id"), "api_key", ["user_id"])
    op.create_table(
        "session",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=True),
        sa.Column("secret_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("title", sa.String(length=200), nullable=True),
        sa.Column("last_model", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        _time("created_at"),
        _time("expires_at"),
        _time("ends_at"),
        _belongs_to("session", "user", "owner_id"),
        sa.CheckConstraint("(owner_id IS NULL) <> (secret_hash IS NULL)", name=op.f("ck_session_one_proof")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_session")),
    )
    op.create_index(op.f("ix_session_expires_at"), "session", ["expires_at"])
    op.create_index(op.f("ix_session_owner_id"), "session", ["owner_id"])
    op.create_table(
        "generation",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        _time("lease_until"),
        _time("created_at"),
        sa.Column("stop_requested", sa.Boolean(), nullable=False),
        _time("started_at", nullable=True),
        _time("finished_at", nullable=True),
        sa.Column("finish_reason", sa.String(length=64), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("untold", sa.JSON(), nullable=True),
        _belongs_to("generation", "session", "session_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generation")),
    )
    op.create_index(op.f("ix_generation_session_id"), "generation", ["session_id"])
    live: dict[str, Any] = {"sqlite_where": LIVE, "postgresql_where": LIVE}
    op.create_index("uq_generation_live", "generation", ["session_id"], unique=True, **live)
    op.create_index("ix_generation_lease", "generation", ["lease_until"], **live)
    op.create_table(
        "message",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        _time("created_at"),
        _belongs_to("message", "session", "session_id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
    )
    op.create_index(op.f("ix_message_session_id"), "message", ["session_id"])
    op.create_table(
        "audit_event",
        sa.Column("id", sa.Uuid(), nullable=False),
        _time("at"),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("session_id", sa.Uuid(), nullable=True),
        sa.Column("detail", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_event")),
    )
    op.create_index(op.f("ix_audit_event_at"), "audit_event", ["at"])


def downgrade() -> None:
    """Undo."""
    for table in ("audit_event", "message", "generation", "session", "api_key", "login", "user"):
        op.drop_table(table)
