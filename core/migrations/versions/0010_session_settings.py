"""Keep with an owned session its owner's instructions for the models, and the temperature."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("session", sa.Column("system_prompt", sa.Text(), nullable=True))
    op.add_column("session", sa.Column("temperature", sa.Double(), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("session", "temperature")
    op.drop_column("session", "system_prompt")
