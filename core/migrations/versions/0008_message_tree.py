"""Make of each conversation a tree; what there is becomes its only branch."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0009"
branch_labels = None
depends_on = None

ONE_BRANCH = """
UPDATE message SET parent_id = placed.follows
FROM (
  SELECT id, COALESCE(LAG(id) OVER (PARTITION BY session_id ORDER BY created_at, id), session_id) AS follows
  FROM message
) AS placed
WHERE placed.id = message.id
"""
"""Each message follows the one before it, and the first one the beginning, for which the session's id stands."""


def upgrade() -> None:
    """Apply."""
    op.add_column("session", sa.Column("leaf_id", sa.Uuid(), nullable=True))
    op.add_column("session", sa.Column("leaf_since", sa.Uuid(), nullable=True))
    op.add_column("generation", sa.Column("answer_id", sa.Uuid(), nullable=True))
    op.add_column("generation", sa.Column("kept_length", sa.Integer(), server_default="0", nullable=False))
    op.add_column("generation", sa.Column("kept_thinking", sa.Integer(), server_default="0", nullable=False))
    op.add_column("message", sa.Column("parent_id", sa.Uuid(), nullable=True))
    op.execute(ONE_BRANCH)
    op.create_index("ix_message_session_id_parent_id", "message", ["session_id", "parent_id"])


def downgrade() -> None:
    """Undo. All branches become one, in the order of time."""
    op.drop_index("ix_message_session_id_parent_id", "message")
    op.drop_column("message", "parent_id")
    for column in ("kept_thinking", "kept_length", "answer_id"):
        op.drop_column("generation", column)
    op.drop_column("session", "leaf_since")
    op.drop_column("session", "leaf_id")
