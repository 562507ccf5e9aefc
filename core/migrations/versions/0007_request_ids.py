"""Keep with an answer the request that has asked for it."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("generation", sa.Column("request_id", sa.String(64), nullable=True))
    op.add_column("generation", sa.Column("traceparent", sa.String(55), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("generation", "traceparent")
    op.drop_column("generation", "request_id")
