import pytest

from relay.domain.addresses import is_metadata, is_public


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.0.1",
        "fe80::1",
        "fe80::a9fe:a9fe%eth0",
        "febf::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "::ffff:169.254.169.254",
        "::ffff:100.100.100.200",
        "64:ff9b::a9fe:a9fe",
    ],
)
def test_no_bot_is_at_a_metadata_or_link_local_address(address):
    assert is_metadata(address)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("127.0.0.1", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("fd12:3456::1", False),
        ("100.64.0.1", False),
        ("8.8.8.8", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::808:808", True),
        ("2606:4700::1111", True),
    ],
)
def test_a_bot_may_be_at_a_loopback_private_or_public_address(address, public):
    assert not is_metadata(address)
    assert is_public(address) is public
