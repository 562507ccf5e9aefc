"""Keep with an answer what /metrics has still to count of it, and what has been counted."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Answers that have ended before are not counted."""
    op.create_table(
        "tally",
        sa.Column("sample", sa.String(400), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("sample", name=op.f("pk_tally")),
    )
    op.add_column("generation", sa.Column("answered_by", sa.String(64), nullable=True))
    op.add_column("generation", sa.Column("first_token_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("generation", sa.Column("hand_offs", sa.Integer(), server_default="0", nullable=False))
    op.add_column("generation", sa.Column("fallbacks", sa.Integer(), server_default="0", nullable=False))
    op.add_column("generation", sa.Column("uncounted", sa.Boolean(), nullable=True))
    op.create_index(
        "ix_generation_uncounted",
        "generation",
        ["finished_at"],
        sqlite_where=sa.text("uncounted IS NOT NULL"),
        postgresql_where=sa.text("uncounted IS NOT NULL"),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_generation_uncounted", "generation")
    for column in ("uncounted", "fallbacks", "hand_offs", "first_token_at", "answered_by"):
        op.drop_column("generation", column)
    op.drop_table("tally")
