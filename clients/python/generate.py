"""Writes `isogrid/tables.py` from `docs/protocol/protocol.json`; `--check` only compares."""

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent.parent / "docs" / "protocol" / "protocol.json"
TARGET = HERE / "isogrid" / "tables.py"

HEADER = '''"""What GNP/1 declares. Written by generate.py from docs/protocol/protocol.json: not by hand."""

# fmt: off

from typing import Any
'''


def fields(declared: list[dict[str, Any]]) -> tuple[tuple[str, str], ...]:
    return tuple((field["name"], field["type"]) for field in declared)


def operations(groups: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {}
    for group in groups:
        for op in group["ops"]:
            found[f"{group['name']}.{op['name']}"] = {
                "code": op["op"],
                "repeat": op["repeat"],
                "request": fields(op["request"]),
                "replies": {reply["status"]: fields(reply["fields"]) for reply in op["replies"]},
                "item": op.get("item"),
                "trailer": op.get("trailer"),
            }
    return found


def described(declared: dict[str, Any]) -> tuple[Any, ...]:
    kind = declared["kind"]
    if kind == "record":
        return kind, fields(declared["fields"])
    if kind == "choice":
        return kind, tuple((choice["number"], choice["name"]) for choice in declared["choices"])
    bits = tuple((bit["bit"], bit["name"], bit["operand"]) for bit in declared["bits"])
    return kind, declared["width"], declared["open"], bits


def payload(declared: Any) -> Any:
    """The type of a control frame's payload, or its fields; None where an operation says it."""
    return fields(declared) if isinstance(declared, list) else declared


def tags(declared: list[dict[str, Any]]) -> dict[int, tuple[str, str]]:
    return {tag["tag"]: (tag["name"], tag["type"]) for tag in declared}


def section(name: str, table: dict[Any, Any]) -> str:
    key_type = type(next(iter(table))).__name__
    lines = "".join(f"    {key!r}: {value!r},\n" for key, value in table.items())
    return f"\n{name}: dict[{key_type}, Any] = {{\n{lines}}}\n"


def generated() -> str:
    said = json.loads(SOURCE.read_text(encoding="utf-8"))
    errors = {
        error["code"]: (error["name"], error["retry"], error["reason"], error["help"])
        for error in said["errors"]
    }
    limits = dict(said["limits"]["announced"])
    limits.update(json_len=said["limits"]["json_len"], json_depth=said["limits"]["json_depth"])
    sections = [
        section("FRAMES", {f["name"]: (f["type"], payload(f["payload"])) for f in said["frames"]}),
        section("REQUEST_TAGS", tags(said["request_tags"])),
        section("REPLY_TAGS", tags(said["reply_tags"])),
        section("LIMITS", limits),
        section("OPERATIONS", operations(said["groups"])),
        section("TYPES", {name: described(one) for name, one in said["types"].items()}),
        section("ERRORS", errors),
    ]
    return HEADER + f"\nVERSION = {said['version']}\n" + "".join(sections)


def main() -> int:
    text = generated()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
        return 0
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    print(f"{TARGET} is not what protocol.json says: python3 generate.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
