"""Mark the sessions that are for a single request."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("session", sa.Column("ephemeral", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Undo. What is left of such sessions expires within minutes."""
    op.drop_column("session", "ephemeral")
