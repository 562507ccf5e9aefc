"""Keep with an answer that it was handed over to another model."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("generation", sa.Column("handover_to", sa.String(64), nullable=True))
    op.add_column("generation", sa.Column("handovers", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("message", sa.Column("handovers", sa.Text(), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("message", "handovers")
    op.drop_column("generation", "handovers")
    op.drop_column("generation", "handover_to")
