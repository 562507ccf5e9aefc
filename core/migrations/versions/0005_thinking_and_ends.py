"""Keep with an answer what its model thought, how it ended, and why it failed."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("generation", sa.Column("reasoning_tokens", sa.Integer(), nullable=True))
    op.add_column("message", sa.Column("finish_reason", sa.String(32), nullable=True))
    op.add_column("message", sa.Column("thinking", sa.Text(), nullable=True))
    op.add_column("message", sa.Column("thinking_seconds", sa.Integer(), nullable=True))
    op.add_column("message", sa.Column("problem", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Undo."""
    for column in ("problem", "thinking_seconds", "thinking", "finish_reason"):
        op.drop_column("message", column)
    op.drop_column("generation", "reasoning_tokens")
