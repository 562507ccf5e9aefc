"""Keep questions that wait for the end of the answer before them."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "waiting",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("model", sa.String(64), nullable=True),
        sa.Column("words_id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("request_id", sa.String(64), nullable=True),
        sa.Column("traceparent", sa.String(55), nullable=True),
        sa.ForeignKeyConstraint(
            ["session_id"], ["session.id"], name=op.f("fk_waiting_session_id_session"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_waiting")),
    )
    op.add_column("generation", sa.Column("waited", sa.Boolean(), nullable=True))
    op.create_index(op.f("ix_waiting_session_id_place"), "waiting", ["session_id", "place"])


def downgrade() -> None:
    """Undo."""
    op.drop_column("generation", "waited")
    op.drop_index(op.f("ix_waiting_session_id_place"), table_name="waiting")
    op.drop_table("waiting")
