"""Finds which hop fails, and says why and what to do.

The outer hops are tried from here, in the order in which a connection needs them: modules, context,
certificate, then for each process name, port and TLS, then what its answers say about clock, trust list and
whether it takes this identity. The inner hops (link, grants, sources) are the agent's own account. A hop
that needs one that failed is not tried and says so.
"""

import importlib.util
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509

from exchange import errors
from exchange.clock import Clock
from exchange.errors import ExchangeError
from exchange.trust import read_trust_list
from exchange.v1 import agent_pb2, common_pb2
from shuqiao import certification, regional
from shuqiao.context import Context
from shuqiao.door import Holder
from shuqiao.local_time import shown
from shuqiao.phrases import Phrases
from shuqiao.probe import Probe, host_and_port, socket_file
from shuqiao.subjects import about
from shuqiao.words import Text

PACKAGES = ("exchange", "gateway", "agent", "certs")
SKEW_MS = 60_000
EXPIRING_MS = 3 * 24 * 3600 * 1000
TLS = "TLSv1.3"

RESOLVE = Text(
    "检查主机名与 DNS，或在 hosts 文件中登记", "Check the host name and DNS, or enter it in the hosts file."
)
PORT = Text("确认进程已启动，检查端口与防火墙", "Make sure the process runs; check port and firewall.")
TLS_REMEDY = Text(
    "确认对方是数桥进程，且中间没有改写 TLS 的网络代理",
    "Make sure that Shuqiao answers there and that no proxy in between rewrites TLS.",
)
ROOT_REMEDY = Text(
    "核对注册文件中的根证书，以及对方证书中的主机名",
    "Compare the root certificate of the enrolment file, and the host names in the other side's certificate.",
)
SHADOWED = Text(
    "改名或移走该文件：它遮住了数桥的同名模块",
    "Rename or move that file: it hides Shuqiao's module of that name.",
)
_AGENTS = Phrases(
    (
        (r"number (\d+)", "第 {0} 号"),
        (r"published by this agent alone", "只由本前置节点公布"),
        (r"(\d+) in force", "{0} 项有效"),
        (r"(\d{4}-\S+T\S+)", "有效期至 {0}"),
        (r"(-?\d+) ms", "相差 {0} 毫秒"),
    )
)
"""What agents say of hops that work."""
NOT_TRIED = Text("前一环节未通过，未检查", "not tried: a hop before it fails")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found at one hop.

    Args:
        hop: for example "gateway/port"; the agent's own hops begin with "agent/".
        ok: whether it works; None where it was not tried.
        found: what was seen; names and ids only.
        reason: stable code where it does not work.
        remedy: what to do where it does not work.
    """

    hop: str
    ok: bool | None
    found: Text
    reason: str = ""
    remedy: Text | None = None


def good(hop: str, zh: str, en: str = "") -> Finding:
    """Return that a hop works."""
    return Finding(hop=hop, ok=True, found=Text(zh, en or zh))


def bad(hop: str, error: ExchangeError, remedy: Text | None = None) -> Finding:
    """Return that a hop fails, with the remedy of its reason where there is none more exact."""
    said = error.sentence
    named = about(error.subject)
    return Finding(
        hop=hop,
        ok=False,
        found=Text(*(f"{one} [{told}]" if told else one for one, told in zip(said[:2], named, strict=True))),
        reason=error.name,
        remedy=remedy or Text(said.remedy_zh, said.remedy_en),
    )


def skipped(*hops: str) -> Iterator[Finding]:
    """Yield that hops were not tried."""
    for hop in hops:
        yield Finding(hop=hop, ok=None, found=NOT_TRIED)


def check_modules(names: Iterable[str] = PACKAGES) -> Finding:
    """Check that the generic top-level names are this product's and not, say, a user's own agent.py."""
    home = Path(__file__).resolve().parent.parent
    hidden = []
    for name in names:
        spec = importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or [spec.origin or ""]) if spec else []
        if not any(Path(place).resolve().parent == home for place in places):
            hidden.append(f"{name} → {places[0] if places else '—'}")
    if hidden:
        return bad("modules", errors.BadConfiguration("; ".join(hidden)), SHADOWED)
    return good("modules", f"模块完好：{'、'.join(names)}", f"modules are whole: {', '.join(names)}")


class Doctor:
    """Examines everything that a context names.

    Args:
        context: the context file.
        hold: opens the identity that the context names.
        dial: opens a channel as that identity.
        status: asks the local agent.
        probe: tries the outer hops.
        clock: this machine's.
    """

    def __init__(
        self,
        *,
        context: Context,
        hold: Callable[[Context], Holder],
        dial: Callable[[str, Holder], grpc.Channel],
        status: Callable[[Context], agent_pb2.GetAgentStatusResponse],
        probe: Probe,
        clock: Clock,
    ) -> None:
        self._context = context
        self._hold = hold
        self._dial = dial
        self._status = status
        self._probe = probe
        self._clock = clock
        self._learned = ""

    def examine(self) -> Iterator[Finding]:
        """Yield the findings, outermost first."""
        yield check_modules()
        yield good("context", str(self._context.path))
        holder = None
        if self._context.has("identity"):
            try:
                holder = self._hold(self._context)
                yield self._certificate(holder)
            except ExchangeError as error:
                yield bad("certificate", error)
        if holder is not None:
            if self._context.has("authority") or self._context.has("enrolment"):
                yield from self._authority(holder)
            address = self._context.gateway if self._context.has("gateway") else self._learned
            if address:
                yield from self._gateway(holder, address)
        elif self._context.has("identity"):
            yield from skipped("authority", "gateway")
        if self._context.has("agent"):
            yield from self._agent()

    def _certificate(self, holder: Holder) -> Finding:
        certificate = x509.load_pem_x509_certificates(holder.chain_pem())[0]
        begin, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        left = int(until.timestamp() * 1000) - self._clock.now_ms()
        begun = self._clock.now_ms() >= int(begin.timestamp() * 1000)
        if left <= 0 or not begun:
            return bad(
                "certificate",
                errors.CertificateExpired(f"{shown(begin.isoformat())} – {shown(until.isoformat())}"),
            )
        who, end = holder.identity().uri, shown(until.isoformat())
        soon = left < EXPIRING_MS
        return good(
            "certificate",
            f"{who}，有效期至 {end}" + ("，即将到期" if soon else ""),
            f"{who}, valid until {end}" + (", ends soon" if soon else ""),
        )

    def _reach(self, hop: str, address: str, away: type[ExchangeError], root_pem: bytes) -> Iterator[Finding]:
        names = [f"{hop}/name", f"{hop}/port", f"{hop}/tls"]
        try:
            host, port = host_and_port(address)
        except ValueError:
            yield bad(names[0], errors.BadConfiguration(f"{hop}: {address}"))
            yield from skipped(*names[1:])
            return
        done = 0
        try:
            yield good(names[0], f"{host} → {', '.join(self._probe.resolve(host, port))}")
            done = 1
            self._probe.connect(host, port)
            yield good(names[1], f"{address} 可连接", f"{address} answers")
            done = 2
            shaken = self._probe.shake(host, port, root_pem)
            if shaken.version != TLS:
                yield bad(names[2], away(f"{shaken.version} < {TLS}"), TLS_REMEDY)
            else:
                yield good(
                    names[2],
                    f"{shaken.version}，{', '.join(shaken.names)}",
                    f"{shaken.version}, {', '.join(shaken.names)}",
                )
        except OSError as error:
            yield _network_fault(names[done], address, error, away)
            yield from skipped(*names[done + 1 :])

    def _authority(self, holder: Holder) -> Iterator[Finding]:
        key = "enrolment" if self._context.has("enrolment") else "authority"
        address = self._context.enrolment if key == "enrolment" else self._context.authority
        reached = list(self._reach("authority", address, errors.AuthorityAway, holder.root_pem()))
        yield from reached
        if not all(finding.ok for finding in reached):
            yield from skipped("clock", "trust-list")
            return
        channel = self._dial(address, holder)
        try:
            yield from self._trust(holder, certification.get_trust_list(channel))
        except ExchangeError as error:
            yield bad("trust-list", error)
        finally:
            channel.close()

    def _trust(self, holder: Holder, statement: common_pb2.Statement) -> Iterator[Finding]:
        """A list is signed again every minute, so its time also tells the authority's clock."""
        now_ms = self._clock.now_ms()
        told = read_trust_list(statement)
        age_s = (now_ms - told.issued_at_ms) // 1000
        if -age_s * 1000 > SKEW_MS:
            yield bad("clock", errors.ClockSkew(f"{age_s} s"))
            yield from skipped("trust-list")
            return
        yield good(
            "clock",
            f"与认证机构时间相符（列表签发于 {age_s} 秒前）",
            f"agrees with the authority (list signed {age_s} s ago)",
        )
        trust = holder.anchor().verify_trust_list(statement, now_ms=now_ms, held=None)
        serial = x509.load_pem_x509_certificates(holder.chain_pem())[0].serial_number
        addresses = [address for gateway in trust.gateways.values() for address in gateway.addresses]
        self._learned = addresses[0] if addresses else ""
        names = ", ".join(gateway.name for gateway in trust.gateways.values()) or "—"
        if serial in trust.revoked_serials:
            yield bad("trust-list", errors.Revoked(holder.identity().uri))
        elif not trust.fresh(now_ms):
            yield bad("trust-list", errors.TrustStale(f"{trust.number}: {age_s} s > {trust.max_age_s} s"))
        else:
            yield good(
                "trust-list",
                f"第 {trust.number} 号，网关 {names}",
                f"number {trust.number}, gateways {names}",
            )

    def _gateway(self, holder: Holder, address: str) -> Iterator[Finding]:
        reached = list(self._reach("gateway", address, errors.GatewayAway, holder.root_pem()))
        yield from reached
        if not all(finding.ok for finding in reached):
            yield from skipped("gateway/identity")
            return
        channel = self._dial(address, holder)
        try:
            origin = regional.get_checkpoint(channel).partition("\n")[0]
            yield good(
                "gateway/identity", f"接受本证书，日志 {origin}", f"takes this certificate, log {origin}"
            )
        except ExchangeError as error:
            yield bad("gateway/identity", error)
        finally:
            channel.close()

    def _agent(self) -> Iterator[Finding]:
        path = socket_file(self._context.agent)
        if path is not None and not path.exists():
            yield bad("agent", errors.AgentAway(str(path)), PORT)
            return
        try:
            status = self._status(self._context)
        except ExchangeError as error:
            yield bad("agent", error, PORT if isinstance(error, errors.Unavailable) else None)
            return
        yield good("agent", status.spiffe_id)
        for hop in status.hops:
            yield _agents_own(hop)


def _agents_own(hop: agent_pb2.HopStatus) -> Finding:
    name = f"agent/{hop.hop}"
    if hop.ok:
        told = _AGENTS.said(shown(hop.detail) if hop.hop == "certificate" else hop.detail or "—")
        return good(name, told.zh, told.en)
    known = {error.reason: error for error in errors.BY_REASON.values()}
    by_name = {cls(hop.detail).name: cls for cls in known.values()}
    return bad(name, by_name.get(hop.reason, errors.Internal)(hop.detail))


def _network_fault(hop: str, address: str, error: OSError, away: type[ExchangeError]) -> Finding:
    if isinstance(error, socket.gaierror):
        return bad(hop, away(f"{address}: {error.strerror}"), RESOLVE)
    if isinstance(error, ssl.SSLCertVerificationError):
        return bad(hop, errors.NoIdentity(f"{address}: {_why(error, 'verify_message')}"), ROOT_REMEDY)
    if isinstance(error, ssl.SSLError):
        return bad(hop, away(f"{address}: {_why(error, 'reason')}"), TLS_REMEDY)
    return bad(hop, away(f"{address}: {error.strerror or 'timeout'}"), PORT)


def _why(error: ssl.SSLError, attribute: str) -> str:
    """The TLS library fills these in; an error made elsewhere lacks them."""
    return str(getattr(error, attribute, "") or "TLS")
