"""Whose address a request comes from, whatever proxies stand between."""

from __future__ import annotations

import functools
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

UNIX = "unix"
"""The name of a peer that came by a Unix socket."""
ALL = "*"
_IPV6_PREFIX = 64
"""Bits of an IPv6 address that one customer has; the rest he may choose."""


def check_networks(named: str) -> str:
    """The names of proxies as a setting has them: addresses, networks, `unix`, `*`, with commas between them.

    Raises:
        ValueError: one of them is none.
    """
    for each in filter(None, map(str.strip, named.split(","))):
        if each not in (ALL, UNIX):
            ip_network(each, strict=False)
    return named


@functools.lru_cache(maxsize=1000)
def is_trusted(peer: str | None, named: str) -> bool:
    """Whether this peer is among the proxies that are named; None: it came by a Unix socket."""
    names = [each.strip() for each in named.split(",") if each.strip()]
    if ALL in names:
        return True
    address = _address(peer) if peer else None
    if address is None:
        return not peer and UNIX in names
    return any(address in ip_network(each, strict=False) for each in names if each != UNIX)


def caller_address(peer: str | None, forwarded_for: str, named: str) -> str:
    """The address of whoever asks, an IPv6 one as its /64.

    Every proxy adds the address that it hears from at the end of `X-Forwarded-For`; so from its end on, the first that
    is no proxy of ours is the caller's. What stands before it anybody could have written.
    """
    hops = [hop.strip() for hop in forwarded_for.split(",") if hop.strip()]
    while hops and is_trusted(peer, named):
        hop = _without_port(hops.pop())
        if _address(hop) is None:
            break  # a name, or `unknown`: nothing to tell callers apart by
        peer = hop
    return _shown(peer)


def _without_port(hop: str) -> str:
    """Some proxies write `1.2.3.4:5678` or `[::1]:5678`."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    # How a socket for both families shows IPv4.
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _shown(peer: str | None) -> str:
    if not peer:
        return UNIX
    address = _address(peer)
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), _IPV6_PREFIX), strict=False))
    return str(address) if address else peer


def is_public(host: str) -> bool:
    """Whether others than this machine can reach what listens on this address: all but loopback and Unix sockets."""
    if host.startswith(f"{UNIX}:") or host == "localhost":
        return False
    address = _address(host)
    return address is None or not address.is_loopback
