"""Which addresses a bot may have."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_METADATA = tuple(
    ip_network(network)
    for network in (
        # Link-local: the metadata services of AWS, Azure, Google Cloud and others, and of containers.
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::/32",  # AWS
        "fd20:ce::254",  # Google Cloud
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure
        "192.0.0.192",  # Oracle Cloud
    )
)
_NAT64 = ip_network("64:ff9b::/96")
"""IPv6 addresses that a NAT gateway translates to the IPv4 address in their last 32 bits (RFC 6052)."""


def is_metadata(address: str) -> bool:
    """Tell whether an IP address is link-local, or one at which a cloud gives its hosts their credentials."""
    ip = _parsed(address)
    return any(ip in network for network in _METADATA)


def is_public(address: str) -> bool:
    """Tell whether an IP address is reached over the Internet."""
    return _parsed(address).is_global


def _parsed(address: str) -> IPv4Address | IPv6Address:
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        if ip in _NAT64:
            return IPv4Address(int(ip) & 0xFFFFFFFF)
        return ip.ipv4_mapped or ip
    return ip
