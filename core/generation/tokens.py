"""How many tokens a text has, guessed from its bytes: what needs no tokenizer takes any text, in linear time."""

TURN_OVERHEAD = 8
"""Tokens that a chat template spends on each turn besides its text."""


def size(text: str) -> int:
    """The text's bytes. Half a character, which could not be sent, counts as a whole one."""
    return len(text.encode(errors="surrogatepass"))


def estimate(text: str, bytes_per_token: float) -> int:
    """About as many tokens as the text has."""
    return int(-(-size(text) // bytes_per_token))
