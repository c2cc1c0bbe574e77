"""Media from web addresses, where that is asked for: public addresses alone, within bounds of size and time."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from experts.errors import MediaError

SCHEMES = ("http", "https")
REDIRECTS = 3  # that are followed, each address judged anew
CHUNK = 1 << 16


def fetch(url: str, shown: str, most_bytes: int, longest_s: float) -> bytes:
    """The bytes at `url`; `shown` is what messages call it.

    The name is looked up once and the connection goes to the address that was judged (safehttpx), so that a name cannot
    lead into a private network, at once or after a redirect. Proxies of the environment are not used.

    Raises:
        MediaError: no public address, not there, too large, too slow, or redirected too often.
    """
    with ThreadPoolExecutor(1) as own:  # a thread that surely has no event loop
        fetched = own.submit(lambda: asyncio.run(_within(url, shown, most_bytes, longest_s)))
    return fetched.result()


async def _within(url: str, shown: str, most_bytes: int, longest_s: float) -> bytes:
    try:
        return await asyncio.wait_for(_followed(url, shown, most_bytes), longest_s)
    except TimeoutError:
        raise MediaError(
            f"{shown} could not be fetched within {longest_s:g} s; accepted: what a server gives in that time; "
            "download it and pass the file"
        ) from None


async def _followed(url: str, shown: str, most_bytes: int) -> bytes:
    for _ in range(REDIRECTS + 1):
        found = await _get(url, shown, most_bytes)
        if isinstance(found, bytes):
            return found
        url = urllib.parse.urljoin(url, found)
    raise MediaError(f"{shown} is redirected more than {REDIRECTS} times; pass the address that it ends at")


async def _get(url: str, shown: str, most_bytes: int) -> bytes | str:
    """The bytes at an address, or the address that it redirects to."""
    import httpx
    from safehttpx import AsyncSecureTransport

    address = await _public_address(url, shown)
    try:
        async with (
            httpx.AsyncClient(transport=AsyncSecureTransport(address), trust_env=False, timeout=None) as client,
            client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
        ):
            if response.is_redirect:
                return str(response.headers["location"])
            if response.status_code != 200:
                raise MediaError(f"{shown} could not be fetched: its server answers {response.status_code}")
            return await _read(response, shown, most_bytes)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        cause = " ".join(str(error).split())[:80] or type(error).__name__
        raise MediaError(f"{shown} could not be fetched ({cause}); check the address, or pass the file") from None


async def _read(response: Any, shown: str, most_bytes: int) -> bytes:
    declared = response.headers.get("content-length", "")
    held, parts = int(declared) if declared.isdecimal() else 0, []
    if held <= most_bytes:
        held = 0
        async for part in response.aiter_bytes(CHUNK):
            parts.append(part)
            held += len(part)
            if held > most_bytes:
                break
    if held > most_bytes:
        raise MediaError(
            f"{shown} is more than {most_bytes / 1e6:,.1f} MB; accepted: media up to that size; make it smaller"
        )
    return b"".join(parts)


async def _public_address(url: str, shown: str) -> str:
    """The IP address of an address's host; a host with any that is not public is refused."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.hostname or parts.username is not None:
        raise MediaError(f"{shown} has no address that is fetched; accepted: http or https, without user and password")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError):
        raise MediaError(f"{shown} could not be fetched: its server's name is not known; check the address") from None
    addresses = [str(one[4][0]) for one in found]
    if not addresses or not all(_is_public(address) for address in addresses):
        raise MediaError(f"{shown} is at an address of a private network, which is never fetched; pass the file")
    return addresses[0]


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    inner = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    return ip.is_global and not ip.is_multicast and (inner is None or inner.is_global)
