"""What to do about JSON that is malformed in one of the usual ways."""

from __future__ import annotations

_SAID = {
    "Expecting property name": 'names and texts stand in double quotes: {"prompt": "…"}',
    "Invalid control character": "a line break or a tab inside of a text is written \\n or \\t",
    "Invalid \\escape": "a backslash inside of a text is written twice: \\\\",
    "Illegal trailing comma": "take the last comma away",
}
_VALUES = {
    "'": "texts stand in double quotes",
    "T": "it is true in JSON, not True",
    "F": "it is false in JSON, not False",
    "N": "it is null in JSON, not None or NaN",
    "]": "a comma too many, or a value that is missing",
    "}": "a comma too many, or a value that is missing",
}


def advice(said: str, text: str, at: int) -> str:
    """How to mend it; empty where there is no more to say than what is wrong.

    Args:
        said: the message of ``json.JSONDecodeError``.
        text: what was decoded.
        at: where the fault stands.
    """
    if said == "Expecting value":
        return _VALUES.get(text[at : at + 1], "")
    if said == "Extra data":
        old_mac = text[:at].rstrip(" \t").endswith("\r")
        return "end each line with a line feed" if old_mac else "one object belongs on each line"
    return next((fix for begin, fix in _SAID.items() if said.startswith(begin)), "")
