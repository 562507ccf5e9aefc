"""The names of what a session has in Redis: values only."""

from uuid_utils.compat import uuid7

from core.conversation.keys import channel, keys, session_of


def test_all_keys_of_a_session_share_one_hash_slot() -> None:
    session_id = uuid7()
    assert {key.partition("}")[0] for key in keys(session_id)} == {f"sb:{{{session_id}"}
    assert len(set(keys(session_id))) == len(keys(session_id))


def test_the_names_are_those_of_the_versions_before() -> None:
    """Processes of two versions share one Redis during a deployment."""
    session_id = uuid7()
    names = ("log", "meta", "partial", "words", "thinking", "settings", "request")
    assert keys(session_id) == tuple(f"sb:{{{session_id}}}:{name}" for name in names)


def test_a_channel_names_its_session() -> None:
    session_id = uuid7()
    assert session_of(channel(session_id)) == session_id
