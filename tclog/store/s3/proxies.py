"""The proxy that the environment names for a URL: one rule for both clients, the rule of curl.

The variables for the URL's scheme go before ALL_PROXY, lower-case names before upper-case ones.
NO_PROXY lists the hosts that need no proxy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tclog.errors import UsageError, to_run

_URL = re.compile(r"(https?)://(?:[^@/]*@)?(\[[^\]]*\]|[^:/]*)(?::(\d+))?")
_PROXY = re.compile(r"https?://([^@/\s]*@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?/?")


def find_proxy(url: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the URL of the proxy for a URL and the variable that names it; None for no proxy.

    Raises:
        UsageError: the variable is not a proxy URL, or names a kind that not both clients support.
    """
    parts = _URL.match(url)
    if parts is None:
        return None
    scheme = parts[1]
    names = [f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"]
    if "REQUEST_METHOD" in environ:  # in a CGI script HTTP_PROXY is a header of a client's request
        names.remove("HTTP_PROXY") if scheme == "http" else None
    name = next((name for name in names if name in environ), None)
    proxy = environ[name].strip() if name is not None else ""
    if name is None or not proxy:
        return None
    left_out = next((environ[n] for n in ("no_proxy", "NO_PROXY") if n in environ), "")
    port = int(parts[3] or (443 if scheme == "https" else 80))
    if is_left_out(left_out, parts[2].strip("[]"), port):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy.removeprefix('//')}"
    if not _PROXY.fullmatch(proxy):
        raise UsageError(
            f"{name} is not http://HOST:PORT or https://HOST:PORT; tclog supports no other proxies",
            code="bad-proxy",
            hint=to_run("export", f"NO_PROXY={parts[2]}"),
        )
    return proxy.rstrip("/"), name


def is_left_out(no_proxy: str, host: str, port: int) -> bool:
    """Whether NO_PROXY names a host: itself, a domain above it, its network, or ``*``.

    Entries are separated by commas or spaces. An entry with a port holds for that port only.
    """
    host = host.lower().rstrip(".")
    for word in re.split(r"[,\s]+", no_proxy.lower()):
        entry = word.strip(".")
        with_port = re.fullmatch(r"(\[.*\]|[^:]*):(\d+)", entry)
        if with_port is not None:
            if int(with_port[2]) != port:
                continue
            entry = with_port[1].rstrip(".")
        entry = entry.strip("[]")
        if entry == "*" or (entry and (host == entry or host.endswith(f".{entry}"))):
            return True
        if ("/" in entry or ":" in entry) and _in_network(host, entry):
            return True
    return False


def _in_network(host: str, network: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False  # a host name, or not a network


def without_password(proxy: str) -> str:
    """Return a proxy's URL as it may be shown."""
    return re.sub(r"://[^@/]*@", "://***@", proxy)
