"""What this request will create, if it creates anything."""

from flask import g

from web.idempotency.records import Plan


def planned() -> Plan:
    """The ids and secrets of what the request creates. With an idempotency key they are fixed in advance."""
    if "plan" not in g:
        g.plan = Plan.new()
    plan: Plan = g.plan
    return plan


def follow(plan: Plan) -> None:
    """Create what this plan says."""
    g.plan = plan
