"""Ways to say who one is: what goes into `auth` of HELLO and of AUTH frames."""

import base64
import hashlib
import hmac
import secrets
from typing import Optional, Protocol


class Mechanism(Protocol):
    """One conversation: made anew for every connection."""

    name: str

    def first(self) -> str:
        """What the client begins with."""

    def answer(self, data: str) -> str:
        """What the client says to what the server said."""

    def verify(self, data: Optional[str]) -> None:
        """Raises ValueError when the server could not prove who it is."""


class _OneMessage:
    """A mechanism of which the first message is the last."""

    def __init__(self, name: str, data: str) -> None:
        self.name, self._data = name, data

    def first(self) -> str:
        return self._data

    def answer(self, data: str) -> str:
        raise ValueError(f"{self.name} has one message, and the server wants another")

    def verify(self, data: Optional[str]) -> None:
        """There is nothing that the server could prove."""


def plain(user: str, password: str) -> Mechanism:
    """PLAIN, RFC 4616: over TLS or loopback only."""
    return _OneMessage("PLAIN", f"\0{user}\0{password}")


def token(token: str) -> Mechanism:
    """TOKEN."""
    return _OneMessage("TOKEN", token)


def _escaped(name: str) -> str:
    return name.replace("=", "=3D").replace(",", "=2C")


def _attributes(message: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in message.split(",") if "=" in part)


class Scram:
    """SCRAM-SHA-256, RFC 5802 and 7677, without channel binding."""

    name = "SCRAM-SHA-256"

    def __init__(self, user: str, password: str, nonce: Optional[str] = None) -> None:
        self._password = password.encode("utf-8")
        self._nonce = nonce or secrets.token_urlsafe(18)
        self._bare = f"n={_escaped(user)},r={self._nonce}"
        self._signature = b""

    def first(self) -> str:
        return f"n,,{self._bare}"

    def answer(self, data: str) -> str:
        told = _attributes(data)
        nonce, rounds = told["r"], int(told["i"])
        if not nonce.startswith(self._nonce):
            raise ValueError("the server's nonce does not begin with ours")
        if not 4096 <= rounds <= 10_000_000:
            raise ValueError(f"{rounds} iterations are too few, or too many")
        salt = base64.b64decode(told["s"], validate=True)
        salted = hashlib.pbkdf2_hmac("sha256", self._password, salt, rounds)
        without_proof = f"c=biws,r={nonce}"
        said = f"{self._bare},{data},{without_proof}".encode("utf-8")
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        stored_key = hashlib.sha256(client_key).digest()
        signature = hmac.digest(stored_key, said, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        self._signature = hmac.digest(server_key, said, "sha256")
        return f"{without_proof},p={base64.b64encode(proof).decode('ascii')}"

    def verify(self, data: Optional[str]) -> None:
        given = base64.b64decode(_attributes(data or "").get("v", ""))
        if not self._signature or not hmac.compare_digest(given, self._signature):
            raise ValueError("the server does not know the password")
