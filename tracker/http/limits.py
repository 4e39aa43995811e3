"""What a connection may take: bytes, seconds, and places. The same for the lane and for hypercorn."""

from __future__ import annotations

MAX_CONNECTIONS = 16_000
"""How many connections may be open at once in one process (the default of a setting). More wait to be accepted, which
another process at the same socket may do meanwhile."""
OTHER_FILES = 200
"""How many files a process may need beside its connections."""
MAX_HEAD = 256 * 1024
"""The largest request head in bytes: data may stand in the URL, percent-encoded."""
MAX_FIELDS = 100
"""The most header fields of a request."""
REQUEST_TIMEOUT = 10.0
"""How long a request may take to arrive from its first byte to its last, in seconds like all that follow. Bulks of
events have limits of their own."""
HANDSHAKE_TIMEOUT = 10.0
"""How long a client may take to agree with us on TLS."""
IDLE_TIMEOUT = 75.0
"""How long a connection may wait for its next request. A proxy must reuse its connections sooner."""
BULK_TIMEOUT = 60.0
"""How long a bulk that has an end may take to arrive."""
SEND_TIMEOUT = 30.0
"""How long a client may take to read what is sent to it in one piece. A follower that reads nothing for so long is cut
off, and comes back with its last position."""
VANISHED = 60.0
"""After how long without a sign of what was sent having arrived a client is given up. The system would try for a
quarter of an hour."""
LINGER = 2.0
"""How long to read on after the last answer: closing earlier could destroy it on its way to a client that still sends
(RFC 9112, 9.6)."""
DRAIN = 1.0
"""How long idle connections stay open once the server stops: a proxy may be sending its next request on one. It is
answered, with `Connection: close`."""
GRACE = 10.0
"""How long requests in flight may take once the server stops, or once their client has closed its side."""
MAX_STREAMS = 100
"""How many requests may be under way at once on one connection of HTTP/2."""
MAX_UNSENT = 64 * 1024
"""How many bytes of answers to what HTTP/2 itself asks (pings, settings) may wait for a client to read them, before
nothing more is read from it."""
RESETS = (100, 10)
"""How many requests a client of HTTP/2 may take back before they are answered: so many at once, and so many a second
(CVE-2023-44487)."""
NOISE = (1000, 20)
"""The same for what is no request: pings, settings, priorities, empty frames (CVE-2019-9512, -9513, -9515, -9518)."""
