"""Tell one installation's database from another's."""

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. The id is made once, and goes with every copy of the database."""
    op.create_table(
        "installation",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
    )
    op.execute(sa.table("installation", sa.column("id", sa.Uuid())).insert().values(id=uuid4()))


def downgrade() -> None:
    """Undo."""
    op.drop_table("installation")
