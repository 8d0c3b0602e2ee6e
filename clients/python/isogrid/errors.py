"""Errors that say what is known: a request FAILED (it was not executed), or its outcome is UNKNOWN.

A miss, an entry that is there already or another version are no errors but answers.
"""

from collections.abc import Mapping
from typing import Any, Optional

from . import tables

CODES = {name: code for code, (name, _, _, _) in tables.ERRORS.items()}


class IsogridError(Exception):
    """Why a request was not answered with what was asked for.

    `code` is the number of docs/PROTOCOL.md section 3, `name` its name, `retry` what the server
    says that a client may do, `details` facts for programs, `outcome` FAILED or UNKNOWN.
    """

    outcome = "FAILED"

    def __init__(
        self,
        code: int,
        message: str = "",
        retry: Optional[str] = None,
        retry_after_ms: int = 0,
        details: Optional[Mapping[str, str]] = None,
    ) -> None:
        name, known_retry, reason, self.help = tables.ERRORS.get(
            code, (f"ERROR_{code}", "NEVER", "an error that this client does not know", "")
        )
        self.code, self.name = code, name
        self.retry = retry or known_retry
        self.retry_after_ms = retry_after_ms
        self.message = message or reason
        self.details: dict[str, str] = dict(details or {})
        super().__init__(f"error[E{code}] {name}: {self.message} (outcome: {self.outcome})")

    @classmethod
    def named(cls, name: str, message: str = "") -> "IsogridError":
        """An error that this side found, by its name."""
        return cls(CODES[name], message)

    def becomes(self, kind: "type[IsogridError]") -> "IsogridError":
        """The same, with what is known of the outcome by now."""
        return kind(self.code, self.message, self.retry, self.retry_after_ms, self.details)


class Failed(IsogridError):
    """The request was not executed, and nothing has changed."""


class Unknown(IsogridError):
    """The request may have been executed or not, in part if it names many keys."""

    outcome = "UNKNOWN"


class Conflict(Failed):
    """A transaction was not committed: what it read has changed. `conflicts` says what."""

    def __init__(self, conflicts: list[dict[str, Any]]) -> None:
        self.conflicts = conflicts
        super().__init__(CODES["TX_CONFLICT"])


def of_body(body: Mapping[str, Any]) -> IsogridError:
    """The error of an ERR frame."""
    details = {detail["name"]: detail["value"] for detail in body["details"]}
    kind = Unknown if body["retry"] == "UNKNOWN_OUTCOME" else Failed
    return kind(body["code"], body["message"], body["retry"], body["retry_after_ms"], details)
