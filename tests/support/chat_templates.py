"""Chat templates as strict models have them, after their public descriptions, and the turns that they take."""

from collections.abc import Sequence

import jinja2

MISTRAL = """
{%- if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set turns = messages[1:] %}
{%- else %}{% set system = '' %}{% set turns = messages %}{% endif -%}
<s>
{%- for turn in turns %}
  {%- if turn.role not in ('user', 'assistant') %}{{ refuse('Only user, system and assistant roles are supported') }}
  {%- elif (turn.role == 'user') != (loop.index0 % 2 == 0) -%}
    {{ refuse('After the optional system message, conversation roles must alternate user/assistant/...') }}
  {%- elif turn.role == 'user' -%}
    [INST] {% if loop.first and system %}{{ system }}\n\n{% endif %}{{ turn.content }} [/INST]
  {%- else %}{{ turn.content }}{% if not loop.last %}</s>{% endif %}
  {%- endif %}
{%- endfor %}
"""

GEMMA = """
{%- if messages[0].role == 'system' %}{{ refuse('System role not supported') }}{% endif -%}
<bos>
{%- for turn in messages %}
  {%- if (turn.role == 'user') != (loop.index0 % 2 == 0) -%}
    {{ refuse('Conversation roles must alternate user/assistant/user/assistant/...') }}
  {%- endif -%}
  <start_of_turn>{{ 'model' if turn.role == 'assistant' else turn.role }}\n{{ turn.content | trim }}
  {%- if not loop.last or turn.role == 'user' %}<end_of_turn>\n{% endif %}
{%- endfor %}
{%- if messages[-1].role == 'user' %}<start_of_turn>model\n{% endif %}
"""

TEMPLATES = {"mistral": MISTRAL, "gemma": GEMMA}


class Refused(Exception):
    """The template, or the server before it, does not take these turns."""


def render(template: str, turns: Sequence[dict[str, str]], *, prefill: bool = False) -> str:
    """The text that the model sees. `prefill`: whether the server continues an answer. Raises Refused."""
    if not turns:
        raise Refused("messages: at least one message is required")
    if any(not turn["content"].strip() for turn in turns):
        raise Refused("messages: text content must be non-empty")
    if turns[-1]["role"] != "user" and not (prefill and turns[-1]["role"] == "assistant"):
        raise Refused(f"Expected last role user, but got {turns[-1]['role']}")

    def refuse(message: str) -> None:
        raise Refused(message)

    environment = jinja2.Environment(autoescape=False, undefined=jinja2.StrictUndefined)  # no HTML
    return environment.from_string(TEMPLATES[template]).render(messages=turns, refuse=refuse)
