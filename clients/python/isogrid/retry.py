"""Which failures are tried again, when, and what is known when no more is tried."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from .errors import CODES, Failed, IsogridError, Unknown

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 1.0
OTHER_MEMBERS = 3
"""How often an error of class OTHER is followed."""

_ONLY_WITH_IDEM = {
    "cache.PUT": ("EXPECT", "IF_ABSENT", "IF_PRESENT", "RETURN_PREV"),
    "cache.REMOVE": ("EXPECT", "RETURN_PREV"),
    "cache.TOUCH": ("EXPECT", "RETURN_PREV"),
}

IN_PART = ("cache.PUT_MANY", "cache.REMOVE_MANY", "cache.TOUCH_MANY", "counter.ADD_MANY")
"""Requests of which an error does not say that nothing was done."""

_BEFORE_ANY_KEY = frozenset(range(1001, 3000)) | {3002, 3003, 3010, 5001}
"""Errors that are found before the first key is done."""


def repeat_of(op: str, declared: str, body: Mapping[str, Any]) -> str:
    """The repeat class of a request: R, I, D or S."""
    conditions = _ONLY_WITH_IDEM.get(op, ())
    return "D" if any(one in body.get("write", {}) for one in conditions) else declared


def wants_idem(op: str, repeat: str) -> bool:
    """Whether a request carries an `idem`: those that need it, and REMOVE, whose answer to the
    second attempt would else say that the entry never was there."""
    return repeat == "D" or op == "cache.REMOVE"


@dataclass
class Attempts:
    """What is known of a request over all its attempts."""

    op: str
    repeat: str
    has_idem: bool
    jitter: Callable[[], float] = random.random
    uncertain: bool = field(default=False, init=False)
    _others: int = field(default=0, init=False)
    _pause: float = field(default=FIRST_PAUSE, init=False)

    def pause_after(self, error: IsogridError) -> Optional[float]:
        """Seconds to wait before the next attempt; None when there must not be one."""
        in_part = self.op in IN_PART and error.code not in _BEFORE_ANY_KEY
        self.uncertain |= isinstance(error, Unknown) or in_part
        if error.retry == "NEVER":
            return None
        if error.retry == "OTHER":
            self._others += 1
            if self._others > OTHER_MEMBERS:
                return None
        if in_part and self.repeat == "D":
            # An ERR is not kept for the `idem`: what was done before it would be done twice.
            return None
        if error.retry == "UNKNOWN_OUTCOME" and not self._repeatable():
            return None
        pause = self._pause * (0.5 + self.jitter())
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        return max(pause, error.retry_after_ms / 1000)

    def verdict(self, error: IsogridError) -> IsogridError:
        """The last error, with what is known of the outcome of all attempts together."""
        if self.repeat == "R" and isinstance(error, Unknown):
            # A read that nobody answered in time has changed nothing.
            return Failed(CODES["DEADLINE_EXCEEDED"], error.message)
        if self.repeat == "R":
            return error
        return error.becomes(Unknown) if self.uncertain else error

    def _repeatable(self) -> bool:
        return self.repeat in "RI" or self.has_idem
