"""Locks that hang on leases: who dies loses them, and a fencing token keeps the late out."""

import json
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Optional

from .cache import Data, octets
from .errors import Failed, IsogridError
from .target import Target

if TYPE_CHECKING:
    from .client import Client


class Lease:
    """A lease, kept alive by a thread of its own until it is revoked."""

    def __init__(self, client: "Client", target: Target, ttl: float, info: dict[str, Any]) -> None:
        self._client, self.target, self.ttl = client, target, ttl
        asked = time.monotonic()
        body = {"ttl": round(ttl * 1000), "info": json.dumps(info)}
        self.number = int(client.call("lease.LEASE_GRANT", body, target).result["lease"])
        self._ends = asked + ttl
        self._stop = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="isogrid-lease", daemon=True)
        self._keeper.start()

    def is_alive(self) -> bool:
        """Whether it certainly has not ended: counted from before the last sign of life was sent,
        so that this side never believes in it longer than the server does."""
        return not self._stop.is_set() and time.monotonic() < self._ends

    def revoke(self) -> bool:
        """Ends it, and all that hangs on it. Whether it was alive."""
        self._stop.set()
        self._keeper.join()
        body = {"lease": self.number}
        return self._client.call("lease.REVOKE", body, self.target).status == "OK"

    def _keep(self) -> None:
        while not self._stop.wait(self.ttl / 3):
            asked = time.monotonic()
            try:
                body = {"leases": [self.number]}
                answer = self._client.call("lease.KEEPALIVE", body, self.target, timeout=self.ttl)
            except IsogridError:
                # It may live on: `_ends` says how long that is certain.
                continue
            left = answer.result["leases"][0]
            if left["status"] != "OK":
                self._stop.set()
                return
            self._ends = asked + left["left"] / 1000


class Held:
    """A lock that is held. Leave the `with`, or call `release`."""

    def __init__(self, locks: "Locks", key: bytes, token: int, lease: Lease, own: bool) -> None:
        self._locks, self.key, self.token, self.lease = locks, key, token, lease
        self.target = locks.target
        self._own_lease = own

    def is_held(self) -> bool:
        """Whether it certainly still is."""
        return self.lease.is_alive()

    def release(self) -> None:
        """Releases it. Failed (NOT_HOLDER) says that it was lost before."""
        body = {"key": self.key, "fence": self.token}
        try:
            answer = self._locks.client.call("lease.UNLOCK", body, self.target)
            if answer.status != "OK":
                raise Failed.named("NOT_HOLDER", f"the lock {self.key!r} was lost before")
        finally:
            if self._own_lease:
                self.lease.revoke()

    def __enter__(self) -> "Held":
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        try:
            self.release()
        except IsogridError:
            # What went wrong within says more than that the lock is lost too.
            if error is None:
                raise


class Locks:
    """A space of locks and leases."""

    def __init__(self, client: "Client", target: Target) -> None:
        self.client, self.target = client, target

    def lease(self, ttl: float = 10.0, **info: Any) -> Lease:
        """A lease of `ttl` seconds (1 to 86,400); `info` is shown to those who wait."""
        return Lease(self.client, self.target, ttl, info)

    def acquire(
        self,
        key: Data,
        wait: float = 0.0,
        shared: bool = False,
        lease: Optional[Lease] = None,
        ttl: float = 10.0,
    ) -> Optional[Held]:
        """Takes a lock, waiting for it for `wait` seconds; None if somebody else has it. Without a
        `lease` it gets one of its own, of `ttl` seconds."""
        own = lease is None
        on = lease or self.lease(ttl)
        body = {
            "key": octets(key),
            "mode": "SHARED" if shared else "EXCLUSIVE",
            "wait": round(wait * 1000),
        }
        seconds = wait + self.client.timeout
        held = None
        try:
            ext = {"lease": on.number}
            answer = self.client.call("lease.LOCK", body, self.target, ext, seconds)
            if answer.status == "OK":
                held = Held(self, octets(key), answer.result["fence"], on, own)
        finally:
            # An outcome that is unknown may be a lock that is held: it goes with its lease.
            if held is None and own:
                on.revoke()
        return held

    def holder(self, key: Data) -> Optional[dict[str, Any]]:
        """Who holds a lock: `mode`, `fence`, `holders` and `waiting`; None if nobody does."""
        answer = self.client.call("lease.LOCK_INFO", {"key": octets(key)}, self.target)
        return dict(json.loads(answer.result["lock"])) if answer.status == "OK" else None
