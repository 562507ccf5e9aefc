"""Keep with an answer that another model has written it than was asked."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Of answers from before it is not known."""
    op.add_column("message", sa.Column("fallback", sa.Text(), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("message", "fallback")
