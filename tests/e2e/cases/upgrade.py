"""WebSocket (RFC 6455) through the proxy."""

import base64
import hashlib
import os
import struct

import pattern
from harness import case
from origin import unmask

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def handshake(client):
    key = base64.b64encode(os.urandom(16))
    fields = [
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key.decode()}",
        "Sec-WebSocket-Version: 13",
    ]
    response = client.ask("/websocket", fields=fields)
    assert response.status == 101, response
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
    assert response.get("sec-websocket-accept") == accept
    assert (response.get("upgrade") or "").lower() == "websocket"
    assert "upgrade" in (response.get("connection") or "").lower()


def send_frame(client, opcode, data):
    mask = os.urandom(4)
    if len(data) < 126:
        size = bytes([0x80 | len(data)])
    elif len(data) < 65536:
        size = b"\xfe" + struct.pack(">H", len(data))
    else:
        size = b"\xff" + struct.pack(">Q", len(data))
    client.send(bytes([0x80 | opcode]) + size + mask + unmask(mask, data))


def read(client, length):
    parts = []
    client.exactly(length, parts.append)
    return b"".join(parts)


def read_frame(client):
    first, length = read(client, 2)
    if length == 126:
        (length,) = struct.unpack(">H", read(client, 2))
    elif length == 127:
        (length,) = struct.unpack(">Q", read(client, 8))
    return first & 0x0F, read(client, length)


@case("a WebSocket echoes frames of every size until it is closed")
def echo(lab):
    with lab.connect() as client:
        handshake(client)
        for length in (0, 1, 125, 126, 1000, 1460, 16_384, 65_535, 65_536, 500_000):
            data = pattern.body(length)
            send_frame(client, 2, data)
            assert read_frame(client) == (2, data), length
        for number in range(100):
            send_frame(client, 1, b"message %d" % number)
        for number in range(100):
            assert read_frame(client) == (1, b"message %d" % number)
        send_frame(client, 8, struct.pack(">H", 1000))
        assert read_frame(client)[0] == 8
        assert client.closed()


@case("a frame sent together with the handshake is not lost")
def eager(lab):
    key = base64.b64encode(os.urandom(16)).decode()
    head = (
        "GET /websocket HTTP/1.1\r\nHost: py.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with lab.connect() as client:
        client.send(head.encode() + b"\x81\x82\0\0\0\0hi")
        assert client.response().status == 101
        assert read_frame(client) == (1, b"hi")


@case("an upgrade the origin declines is an ordinary answer")
def declined(lab):
    with lab.connect() as client:
        fields = ["Upgrade: other", "Connection: Upgrade"]
        assert client.ask("/plain", fields=fields).body == b"hello"
        assert client.ask("/plain").body == b"hello"
