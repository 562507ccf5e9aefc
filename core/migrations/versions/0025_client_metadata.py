"""Keep with a session what a client notes of it."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("session", sa.Column("client_metadata", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("session", "client_metadata")
