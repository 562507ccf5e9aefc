"""Keep with an answer how long it may be, and what its question was asked with."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Of answers that were asked before, nothing is known."""
    op.add_column("generation", sa.Column("max_tokens", sa.Integer(), nullable=True))
    op.add_column("generation", sa.Column("client_options", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("generation", "client_options")
    op.drop_column("generation", "max_tokens")
