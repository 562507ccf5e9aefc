"""Give generations a place in the line, and note what their owners' budgets were charged."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

QUEUED = sa.text("state = 'queued'")
UNTOLD = sa.text("untold IS NOT NULL")


def upgrade() -> None:
    """Apply."""
    op.add_column("generation", sa.Column("turn", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE generation SET turn = created_at")
    op.create_index(op.f("ix_generation_turn"), "generation", ["turn"], sqlite_where=QUEUED, postgresql_where=QUEUED)
    op.create_index(
        op.f("ix_generation_untold"), "generation", ["finished_at"], sqlite_where=UNTOLD, postgresql_where=UNTOLD
    )
    op.add_column("generation", sa.Column("settled_tokens", sa.Integer(), nullable=True))
    op.execute(
        "UPDATE generation SET prompt_tokens = coalesce(prompt_tokens, 0),"
        " completion_tokens = coalesce(completion_tokens, 0),"
        " settled_tokens = coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0)"
        " WHERE finished_at IS NOT NULL"
    )


def downgrade() -> None:
    """Undo."""
    op.drop_column("generation", "settled_tokens")
    op.drop_index(op.f("ix_generation_untold"), table_name="generation")
    op.drop_index(op.f("ix_generation_turn"), table_name="generation")
    op.drop_column("generation", "turn")
