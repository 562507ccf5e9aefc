"""Keep what users' answers come to by day and model, and what each answer cost."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Answers that were counted before are in nobody's usage."""
    op.create_table(
        "daily_usage",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("answers", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_daily_usage_user_id_user"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "day", "model", name=op.f("pk_daily_usage")),
    )
    op.add_column("generation", sa.Column("cost", sa.BigInteger(), nullable=True))
    op.add_column("user", sa.Column("limits", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("user", "limits")
    op.drop_column("generation", "cost")
    op.drop_table("daily_usage")
