"""The session rules that tests calculate with: those of an installation without options of its own."""

from datetime import timedelta

from core.sessions.lifetime import Lifetime
from core.sessions.service import SessionRules

RULES = SessionRules(
    anonymous=Lifetime(idle=timedelta(minutes=30), absolute=timedelta(hours=24)),
    owned=Lifetime(idle=timedelta(days=14), absolute=timedelta(days=90)),
    max_per_user=1000,
)
