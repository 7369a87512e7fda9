"""Bodies whose every byte is known: byte i is BLOCK[i % len(BLOCK)].

The block's length is a prime just under 64 KiB, so that bytes lost, repeated or swapped by any
multiple of a segment, a frame or a page never fit by chance.
"""

import random

BLOCK = random.Random(20240607).randbytes(65521)
_TWICE = BLOCK + BLOCK


def piece(offset: int, length: int) -> bytes:
    """`length` bytes of the pattern from byte `offset`; at most one block's length at a time."""
    start = offset % len(BLOCK)
    return _TWICE[start : start + length]


def pieces(length: int):
    """The first `length` bytes of the pattern, block by block."""
    for offset in range(0, length, len(BLOCK)):
        yield piece(offset, min(len(BLOCK), length - offset))


def body(length: int) -> bytes:
    """The first `length` bytes of the pattern."""
    return b"".join(pieces(length))


class Checker:
    """Compares a stream, fed in pieces of any size, with the pattern."""

    def __init__(self):
        self.offset = 0

    def feed(self, data: bytes):
        view = memoryview(data)
        while view:
            part = view[: len(BLOCK)]
            if part != piece(self.offset, len(part)):
                want = piece(self.offset, len(part))
                at = next(i for i in range(len(part)) if part[i] != want[i])
                raise AssertionError(f"byte {self.offset + at} of the body is wrong")
            self.offset += len(part)
            view = view[len(part) :]


def write_file(path: str, length: int):
    """Writes a file of `length` bytes of the pattern."""
    with open(path, "wb") as file:
        for part in pieces(length):
            file.write(part)
