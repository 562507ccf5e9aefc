"""Keep answers' HTML with them, and index messages by their place in the session."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("message", sa.Column("html", sa.Text(), nullable=True))
    op.create_index(op.f("ix_message_session_id_created_at_id"), "message", ["session_id", "created_at", "id"])
    op.drop_index(op.f("ix_message_session_id"), table_name="message")


def downgrade() -> None:
    """Undo."""
    op.create_index(op.f("ix_message_session_id"), "message", ["session_id"])
    op.drop_index(op.f("ix_message_session_id_created_at_id"), table_name="message")
    op.drop_column("message", "html")
