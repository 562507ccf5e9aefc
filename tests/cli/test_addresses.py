"""What can't be listened on is named: the port, or the address."""

import socket

import pytest

from cli.addresses import check_port
from cli.console import CommandError


@pytest.mark.parametrize("host", ["203.0.113.5", "no such host"])
def test_a_wrong_address_is_not_blamed_on_the_port(host: str) -> None:
    with pytest.raises(CommandError) as refused:
        check_port(host, 8000, "PORT", "SWITCHBOARD_HOST")
    assert refused.value.message.startswith(f"SWITCHBOARD_HOST={host}: no address of this machine")


def test_a_port_that_is_taken_is_named_with_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandError) as refused:
            check_port("127.0.0.1", port, "PORT", "SWITCHBOARD_HOST")
    assert refused.value.message.startswith(f"PORT={port}: port {port} on 127.0.0.1 is taken by ")
