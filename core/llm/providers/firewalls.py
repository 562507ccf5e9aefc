"""Firewalls before a model's server, which refuse one question for its words, or the page that is to be one: pure."""

import re

WITH_A_PAGE = (403, 406)
"""What they answer with that is a web page: an API has none for its own refusals. A proxy and a gateway that want a
password (401, 407) may have one."""
WITH_WORDS = (400, 403, 405, 406, 418, 429, 451, 493, 501, 503)
"""What they answer with at all."""
_WORDS = re.compile(
    r"""
      attention\ required!?\s*\|\s*cloudflare | you\ have\ been\ blocked | error\ code:\ 1020\b   # Cloudflare
    | \brequest\ (?:was\ |has\ been\ |is\ )?blocked\b(?!.{0,40}\brate\b)                          # AWS
    | access\ denied\b.{0,1500}\b(?:akamai|edgesuite|reference\ ?\#)                              # Akamai
    | the\ requested\ url\ was\ rejected                                                          # F5
    | incapsula\ incident | sucuri\ website\ firewall | mod_?security | web\ application\ firewall | \bWAF\b
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


def is_firewalls(status: int | None, said: str) -> bool:
    """Whether a refusal with these words, or this page, is a firewall's."""
    if status in WITH_A_PAGE and said.lstrip().startswith("<"):
        return True
    return status in WITH_WORDS and _WORDS.search(said) is not None
