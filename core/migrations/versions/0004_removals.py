"""Note what has still to be removed from Redis, which accounts are given up, which command switched a model last, and
which question an answer is for."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "removal",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=True),
        sa.Column("generation_id", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_removal")),
    )
    op.add_column("user", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("session", sa.Column("last_command", sa.Uuid(), nullable=True))
    op.add_column("generation", sa.Column("question_id", sa.Uuid(), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("generation", "question_id")
    op.drop_column("session", "last_command")
    op.drop_column("user", "deleted_at")
    op.drop_table("removal")
