"""Index what is said once more, so that the search finds its emoji, its symbols and its letters with signs."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

IS_PLAIN = {
    "postgresql": "octet_length({0}) = char_length({0})",
    "sqlite": "length(CAST({0} AS BLOB)) = length({0})",
}


def upgrade() -> None:
    """Apply. What has nothing beyond ASCII is found as before; the reaper indexes the rest by and by."""
    is_plain = IS_PLAIN[op.get_bind().dialect.name]
    text, title = is_plain.format("text"), is_plain.format("title")
    op.execute(
        sa.text(
            f"UPDATE message SET searchable = NULL WHERE searchable AND (NOT ({text})"  # noqa: S608  no input
            f" OR session_id IN (SELECT id FROM session WHERE NOT ({title})))"
        )
    )


def downgrade() -> None:
    """Undo: there is nothing to."""
