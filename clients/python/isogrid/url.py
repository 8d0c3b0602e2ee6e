"""Where a client connects and how, as one text."""

import os
import re
from typing import Any, NamedTuple, Optional
from urllib.parse import unquote

SCHEME = "isogrid://"
DEFAULT = SCHEME + "127.0.0.1:7400"
_SPAN = re.compile(r"([0-9]+)(ms|s|m)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_HOST = re.compile(r"(\[[^\]]+\]|[^:\[\]]+)(:[0-9]{1,5})?")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Url(NamedTuple):
    """`isogrid://user:password@h1:7400,h2:7400/cache?cluster=prod&timeout=2s&app=shop`, the same as in
    every client. `tls`, `ca` and `routing` are known and only `off` here: this client speaks no TLS
    and asks one server."""

    addresses: tuple[str, ...]
    cache: Optional[str]
    login: Optional[tuple[str, str]]
    options: dict[str, Any]


def of_environment() -> Url:
    """What ISOGRID_URL says, or this machine's usual server. Raises ValueError."""
    return parse(os.environ.get("ISOGRID_URL", DEFAULT))


def parse(text: str) -> Url:
    """Raises ValueError, which does not repeat the text: it may hold a password."""
    if not text.startswith(SCHEME):
        raise ValueError(f"a URL begins with {SCHEME}")
    rest, _, query = text[len(SCHEME) :].partition("?")
    rest, _, cache = rest.partition("/")
    login, at, hosts = rest.rpartition("@")
    addresses = tuple(hosts.split(","))
    for one in addresses:
        if not _HOST.fullmatch(one) or int(one.rpartition("]")[2].partition(":")[2] or 0) > 65535:
            raise ValueError(f"`{one}` is no HOST or HOST:PORT")
    user, colon, password = login.partition(":")
    if at and not colon:
        raise ValueError("there is a user, and no password behind a colon")
    who = (_decoded(user), _decoded(password)) if at else None
    return Url(addresses, _decoded(cache) or None, who, _options(query))


def _options(query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for pair in filter(None, query.split("&")):
        key, _, value = pair.partition("=")
        value = _decoded(value)
        if key in ("cluster", "app"):
            options[key] = value
        elif key == "timeout":
            span = _SPAN.fullmatch(value)
            if not span or not int(span[1]):
                raise ValueError(f"timeout={value} is no time: 500ms, 2s, 1m")
            options[key] = int(span[1]) * _SECONDS[span[2]]
        elif key in ("tls", "routing"):
            if value not in ("on", "off"):
                raise ValueError(f"{key}={value} is neither on nor off")
            if key == "tls" and value == "on":
                raise ValueError("tls=on: this client speaks no TLS")
        elif key == "ca":
            raise ValueError("ca: this client speaks no TLS")
        else:
            known = "tls, ca, cluster, timeout, app and routing"
            raise ValueError(f"the URL says `{key}`, and knows {known}")
    return options


def _decoded(part: str) -> str:
    if _ESCAPE.search(part):
        raise ValueError("a % is not followed by the two digits of a byte of UTF-8")
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("a % is not followed by the two digits of a byte of UTF-8") from None
