"""What of an address may be shown: ``rtsp://user:p@ss@camera/live?pwd=x`` -> ``rtsp://camera/live?pwd=***``.

Cameras take their password in several places, and people write it unescaped. What cannot be told from a secret counts as one:
everything up to the last ``@``, and the value of every parameter that is not known to be harmless. Where it is open which of
the two an address has, nothing of it is shown. Errors pass their texts
through here (__init__.py), sources their names; nothing else shows an address.
"""

from __future__ import annotations

import re

HIDDEN = "***"
HARMLESS = frozenset(
    [
        "channel",
        "ch",
        "stream",
        "subtype",
        "camera",
        "cam",
        "profile",
        "resolution",
        "width",
        "height",
        "fps",
        "codec",
        "format",
        "quality",
    ]
)
MISTYPED = r"(?:rtsp|rtmp|http)s?:?[/\\]+"  # rtsp//me:secret@camera, http:\\me:secret@camera
ADDRESS = re.compile(
    rf"""[a-zA-Z][a-zA-Z0-9+.-]*:/+\S*|\b{MISTYPED}\S*|(?<![\w.%+-])[\w.%+-]+:[^\s@"']+@[\w\[]\S*""", re.IGNORECASE
)
# a word with one slash or none behind its colon is a scheme if it is known as one, a drive, and else the name of a user
KNOWN = r"(?:rtsps?|rtmps?|rtmpt|https?|udp|tcp|rtp|srt|mms|ftps?|file):/*"
SCHEME = re.compile(rf"(?:{MISTYPED}|[a-z][a-z0-9+.-]*:/{{2,}}|{KNOWN}|[a-z]:(?:/|(?=\\))|//)(?!\Z)", re.IGNORECASE)
HOST = re.compile(r"[\w.-]+(:\d{1,5})?")
CREDENTIAL = re.compile(r"[/?&;](user|usr|login|account|pass|pwd|psw|token|key|auth|secret)\w*=", re.IGNORECASE)
ENDS = re.compile(r"([/?#])")


def shown(address: str) -> str:
    """One address, whole: also one that lacks its scheme or a slash, as people mistype them; a file's name stays as it is."""
    scheme = SCHEME.match(address)
    start = scheme[0] if scheme else ""
    rest = address[len(start) :]
    if not start:
        host, *path = ENDS.split(rest, maxsplit=1)
        rest = "".join([re.sub("%3a", ":", host, flags=re.IGNORECASE) if "%40" in host else host, *path])
    if "@" not in rest and (
        start or ":" in ENDS.split(rest, maxsplit=1)[0]
    ):  # one written %40 for the program, too: no host has that in its name
        host, *path = ENDS.split(rest, maxsplit=1)
        rest = "".join([host.replace("%40", "@"), *path])
    before, at, after = rest.rpartition("@")
    if not start and not (at and ":" in before) and not ("?" in rest and "=" in rest):
        return address
    first = ENDS.split(before, maxsplit=1)[0]
    if (
        at and "=" in before[len(first) :]
    ):  # an @ in the value of a parameter, or one behind a password with = and / in it
        if not (HOST.fullmatch(first) and CREDENTIAL.search(before)):
            return start + HIDDEN
    elif at and (first == before or ":" in first or "@" in first):  # else an @ of the path: host/img@2x.jpg
        rest = after
    parts = ENDS.split(rest)
    asks = False
    for place in range(0, len(parts), 2):
        asks = asks or "=" in parts[place] or (place > 0 and parts[place - 1] in "?#")
        parts[place] = _pairs(parts[place]) if asks else parts[place]
    return start + "".join(parts)


def shown_in(text: str) -> str:
    """A text, with every address in it as it may be shown."""
    return ADDRESS.sub(lambda found: shown(found[0]), text) if "/" in text or "@" in text else text


def _pairs(part: str) -> str:
    """``user=a&password=b&channel=1`` -> ``user=***&password=***&channel=1``, in a path as well: cameras ask for that."""
    kept = []
    for pair in re.split(r"([&;])", part):
        name, equals, value = pair.partition("=")
        harmless = pair in "&;" or (name.lower() in HARMLESS and re.fullmatch(r"\w*(\.sdp)?", value))
        kept.append(pair if harmless else name + equals + HIDDEN if equals else HIDDEN)
    return "".join(kept)
