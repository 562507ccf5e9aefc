"""Order sessions by their last activity, mark unread answers, and index what is said for the search."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0012"
branch_labels = None
depends_on = None

# SQLite's index of the words is an FTS5 table over `message_words`, kept by triggers (https://sqlite.org/fts5.html,
# "External Content Tables"). Tokens come as ASCII, and only whether one occurs is asked.
FTS = (
    """
    CREATE VIRTUAL TABLE message_words_fts USING fts5(
      words, content='message_words', content_rowid='number', tokenize='ascii', detail='none', columnsize=0
    )
    """,
    """
    CREATE TRIGGER message_words_added AFTER INSERT ON message_words BEGIN
      INSERT INTO message_words_fts(rowid, words) VALUES (new.number, new.words);
    END
    """,
    """
    CREATE TRIGGER message_words_removed AFTER DELETE ON message_words BEGIN
      INSERT INTO message_words_fts(message_words_fts, rowid, words) VALUES ('delete', old.number, old.words);
    END
    """,
    """
    CREATE TRIGGER message_words_changed AFTER UPDATE ON message_words BEGIN
      INSERT INTO message_words_fts(message_words_fts, rowid, words) VALUES ('delete', old.number, old.words);
      INSERT INTO message_words_fts(rowid, words) VALUES (new.number, new.words);
    END
    """,
)


def upgrade() -> None:
    """Apply. What has been said before counts as read; the reaper indexes it by and by."""
    at_postgres = op.get_bind().dialect.name == "postgresql"
    op.add_column("session", sa.Column("last_active_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("session", sa.Column("read_until", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        """
        UPDATE session SET
          last_active_at = (SELECT max(created_at) FROM message WHERE message.session_id = session.id),
          read_until = (SELECT max(finished_at) FROM generation WHERE generation.session_id = session.id)
        WHERE owner_id IS NOT NULL
        """
    )
    op.create_index(
        "ix_session_activity",
        "session",
        ["owner_id", sa.text("coalesce(last_active_at, created_at)"), "id"],
        sqlite_where=sa.text("owner_id IS NOT NULL"),
        postgresql_where=sa.text("owner_id IS NOT NULL"),
    )
    # A session's newest answers, and all of them.
    op.create_index("ix_generation_session_id_id", "generation", ["session_id", "id"])
    op.drop_index("ix_generation_session_id", "generation")
    op.add_column("message", sa.Column("searchable", sa.Boolean(), nullable=True))
    op.create_index(
        "ix_message_unsearchable",
        "message",
        ["session_id"],
        sqlite_where=sa.text("searchable IS NULL"),
        postgresql_where=sa.text("searchable IS NULL"),
    )
    op.create_table(
        "message_words",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=True),
        sa.Column("words", sa.Text().with_variant(postgresql.TSVECTOR(), "postgresql"), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_message_words_message_id_message"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["session_id"], ["session.id"], name=op.f("fk_message_words_session_id_session"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_message_words")),
        sa.UniqueConstraint("document_id", name=op.f("uq_message_words_document_id")),
    )
    op.create_index("ix_message_words_session_id", "message_words", ["session_id"])
    op.create_index("ix_message_words_message_id", "message_words", ["message_id"])
    op.add_column("removal", sa.Column("listed", sa.Boolean(), nullable=False, server_default=sa.true()))
    if at_postgres:
        op.create_index("ix_message_words_words", "message_words", ["words"], postgresql_using="gin")
        return
    for statement in FTS:
        op.execute(statement)


def downgrade() -> None:
    """Undo."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE message_words_fts")
    op.drop_table("message_words")
    op.drop_column("removal", "listed")
    op.drop_index("ix_message_unsearchable", "message")
    op.drop_column("message", "searchable")
    op.create_index("ix_generation_session_id", "generation", ["session_id"])
    op.drop_index("ix_generation_session_id_id", "generation")
    op.drop_index("ix_session_activity", "session")
    op.drop_column("session", "read_until")
    op.drop_column("session", "last_active_at")
