"""Note in one row what has still to be removed from Redis for many sessions."""

import json
from contextlib import suppress
from uuid import UUID, uuid4

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

REMOVAL = sa.table(
    "removal",
    sa.column("id", sa.Uuid()),
    sa.column("session_id", sa.Uuid()),
    sa.column("reason", sa.String()),
    sa.column("owner_id", sa.Uuid()),
    sa.column("generation_id", sa.Uuid()),
    sa.column("listed", sa.Boolean()),
)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "removal_batch",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("removals", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_removal_batch")),
    )


def downgrade() -> None:
    """Undo. What has still to be removed has a row for each session again."""
    for (removals,) in op.get_bind().execute(sa.text("SELECT removals FROM removal_batch")).all():
        with suppress(ValueError):  # no version could read it
            op.bulk_insert(REMOVAL, [_row(*removal) for removal in json.loads(removals)])
    op.drop_table("removal_batch")


def _row(
    session_id: str, reason: str, owner_id: str | None, generation_id: str | None, listed: bool
) -> dict[str, object]:
    return {
        "id": uuid4(),
        "session_id": UUID(session_id),
        "reason": reason,
        "owner_id": owner_id and UUID(owner_id),
        "generation_id": generation_id and UUID(generation_id),
        "listed": listed,
    }
