"""RFC 5424 messages over TLS with octet counting (RFC 5425), each carrying one OCSF event.

The receiver acknowledges nothing in this protocol. So the place that is kept stays one settling behind: that
the receiver is still there at the next one shows that it has not gone with what it was sent. At the end it
closes in good order, which it can only do once it has read everything. Records may come twice after a break,
and are known by origin and index in the structured data. What a receiver has read and loses is its own.
"""

import fcntl
import json
import os
import socket
import ssl
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from exchange.errors import BadConfiguration, SinkAway
from shuqiao.exports import ocsf
from shuqiao.exports.records import Record

AUDIT_FACILITY = 13
PORT = 6514
CONNECT_S, CONFIRM_S = 10.0, 10.0
MAX_BYTES = 64 * 1024
_SIOCOUTQ = 0x5411
_PEN = 32473  # reserved for examples (RFC 5612): the structured data is ours alone
_SEVERITIES = {1: 6, 2: 5, 3: 4, 4: 3, 5: 2}
"""From OCSF's severity to syslog's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Where messages go.

    Attributes:
        host, port: of the receiver.
        ca_file: certificates under which its own must be, PEM.
        certificate_file, key_file: with which this side shows itself, PEM; None for without.
    """

    host: str
    port: int
    ca_file: Path
    certificate_file: Path | None = None
    key_file: Path | None = None


def message(record: Record, event: ocsf.Event, *, sender: str) -> bytes:
    """Return one message, its length before it.

    Args:
        record: the entry.
        event: one of its OCSF events.
        sender: name of this host, for the header.
    """
    severity = _SEVERITIES[int(event["severity_id"])]
    moment = datetime.fromtimestamp(record.time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    kind = "finding" if event["class_uid"] == ocsf.DETECTION_FINDING else "activity"
    data = (
        f'[shuqiao@{_PEN} log="{_quoted(record.origin)}" index="{record.index}" hash="{record.hash.hex()}"]'
    )
    priority, moment = AUDIT_FACILITY * 8 + severity, moment.replace("+00:00", "Z")
    header = f"<{priority}>1 {moment} {sender} shuqiao - {kind} {data} "
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    body = header.encode() + b"\xef\xbb\xbf" + text.encode()
    if len(body) > MAX_BYTES:
        # Cut where a receiver would cut it, but so that the rest still says where the whole is.
        short = {**event, "unmapped": {}, "resources": [], "message": "truncated"}
        body = header.encode() + b"\xef\xbb\xbf" + json.dumps(short, ensure_ascii=False).encode()
    return b"%d %s" % (len(body), body)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


class SyslogSink:
    """A receiver over TLS.

    Args:
        receiver: where.
        sender: name of this host.
    """

    settle_after, settle_s, lags = 256, 1.0, True

    def __init__(self, receiver: Receiver, *, sender: str) -> None:
        self._receiver = receiver
        self._sender = sender
        self._socket: ssl.SSLSocket | None = None

    def open(self, length: int) -> None:
        """Connect."""
        self._socket = self._dial()

    def take(self, records: Sequence[Record]) -> None:
        """Send the events of records."""
        frames = b"".join(
            message(record, event, sender=self._sender) for record in records for event in ocsf.events(record)
        )
        try:
            self._opened.sendall(frames)
        except OSError as error:
            raise self._away(error) from error

    def settle(self, *, final: bool) -> int:
        """Wait until the receiver's host has confirmed every byte; at the end, until it has closed."""
        end = time.monotonic() + CONFIRM_S
        try:
            while struct.unpack("i", fcntl.ioctl(self._opened.fileno(), _SIOCOUTQ, b"\0" * 4))[0]:
                # A connection that was reset counts its bytes as unconfirmed for ever.
                if number := self._opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(number, os.strerror(number))
                if time.monotonic() > end:
                    raise SinkAway(f"{self._receiver.host}:{self._receiver.port}: no confirmation")
                # The kernel tells of no end of this; it is asked now and then.
                time.sleep(0.002)
            self._part() if final else self._check_open()
        except OSError as error:
            raise self._away(error) from error
        return 0

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _part(self) -> None:
        """End the stream and wait for the receiver to end its own: an abort is told by the kernel."""
        stream = self._opened
        stream.settimeout(CONFIRM_S)
        try:
            stream.unwrap().close()
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            # It closed without saying so by TLS, but in good order.
            return

    def _check_open(self) -> None:
        """Notice a receiver that has closed: what it never read is not delivered."""
        self._opened.settimeout(0.0)
        try:
            if self._opened.recv(1) == b"":
                raise SinkAway(f"{self._receiver.host}:{self._receiver.port}: closed")
        except (ssl.SSLWantReadError, BlockingIOError):
            return
        finally:
            self._opened.settimeout(CONNECT_S)

    def _dial(self) -> ssl.SSLSocket:
        where = self._receiver
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Receivers of other makers may not speak 1.3 yet (RFC 9662 demands 1.2).
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_verify_locations(where.ca_file)
            if where.certificate_file is not None:
                context.load_cert_chain(where.certificate_file, where.key_file)
        except OSError as error:
            raise BadConfiguration(f"{where.ca_file}: {error.strerror or error}") from error
        try:
            plain = socket.create_connection((where.host, where.port), timeout=CONNECT_S)
            return context.wrap_socket(plain, server_hostname=where.host)
        except OSError as error:
            raise self._away(error) from error

    def _away(self, error: OSError) -> SinkAway:
        reason = error.strerror or type(error).__name__
        return SinkAway(f"{self._receiver.host}:{self._receiver.port}: {reason}")

    @property
    def _opened(self) -> ssl.SSLSocket:
        assert self._socket is not None, "open comes first"
        return self._socket
