"""The household scenario: for a newborn, health asks public security for the parents' household record.

1. The region comes to be: authority, people, gateway, catalogue, agents, grants.
2. Health queries and verifies; answers come sealed, signed and logged, with receipts that are proven here.
3. What must be refused is refused: a field outside the grant, no case number, an expired grant, a revoked
   certificate.
4. The gateway's log is verified offline, by the trust list's word and nobody else's.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from exchange.checkpoint import open_checkpoint
from exchange.errors import CaseRequired, ExchangeError, FieldNotGranted, GrantExpired, Revoked
from exchange.v1 import audit_pb2
from gateway.audit.verification.verify import verify_folder
from shuqiao import views
from shuqiao.demo.cast import CIVIL, GRANTED, HEALTH, INSURANCE, OFFICES, POLICE, residents
from shuqiao.demo.counter import Counter
from shuqiao.demo.outcome import REFUSED, Audited, Exchanged, Outcome
from shuqiao.demo.people import Person
from shuqiao.demo.show import Show
from shuqiao.demo.staging import Stage
from shuqiao.demo.world import GATEWAY, World
from shuqiao.words import Text

NAME = "household"
CASE = "LJ-2026-NB-000117"
SHORT_TERM = timedelta(seconds=4)
"""Long enough to be applied for and accepted, over by the time it is used."""
SEEN = ("consumer", "provider", "resource", "kind", "fields", "purpose", "matter", "case_number", "decision")
"""What of a log entry is shown."""

FIELD = Text("查询授权之外的信息项", "a field outside the grant")
NO_CASE = Text("未带办件编号", "no case number")
EXPIRED = Text("授权已过期", "an expired grant")
REVOKED = Text("证书已被吊销", "a revoked certificate")

Asked = tuple[ExchangeError | None, Exchanged]


class Household:
    """Plays the scenario.

    Args:
        world: where it plays.
        show: tells people.
        outcome: filled as it goes on.
    """

    def __init__(self, world: World, *, show: Show, outcome: Outcome) -> None:
        self._world = world
        self._stage = Stage(world)
        self._show = show
        self._outcome = outcome
        self._expiry = datetime.now(UTC)

    def play(self) -> None:
        """Play it from nothing to the verified log.

        Raises:
            ExchangeError: something failed that must not; what is not as it must be is in the outcome.
        """
        self._show.title(
            "数桥演示 · 新生儿出生一件事：卫健向公安查询户籍",
            "Shuqiao: for a newborn, health asks public security for a household record",
        )
        self._found()
        self._enter()
        self._agree()
        with self._stage.counter(HEALTH.agent) as health:
            self._ask(health)
            self._refuse(health)
        self._verify()

    # -- 1: the region comes to be -----------------------------------------------------------------------

    def _found(self) -> None:
        show = self._show
        show.chapter("认证机构与网关", "The authority and the gateway")
        self._world.start_authority()
        show.done("认证机构已建立，两位管理员", "authority founded, two administrators")
        self._stage.enrol_people()
        show.done(
            "数据专员、安全员、审计已注册：一人制作令牌，另一人批准",
            "stewards, officer, auditor enrolled: one administrator makes a token, the other approves",
        )
        self._world.start_gateway()
        show.done("网关已启动，仅限 TLS 1.3 双向认证", "gateway up, mutual TLS 1.3 only")

    def _enter(self) -> None:
        show = self._show
        show.chapter("部门、目录与前置节点", "Departments, catalogue and agents")
        self._stage.enter_offices()
        show.done(f"{len(OFFICES)} 个部门已登记", f"{len(OFFICES)} departments entered")
        self._stage.publish()
        show.done(
            "公安发布户籍信息，逐项分级，数据专员签名",
            "public security published the household record, each field with its level, signed",
        )
        self._stage.start_agents()
        show.done(
            f"{len(OFFICES)} 个前置节点已连接，密钥自行生成（抗量子混合）",
            f"{len(OFFICES)} agents linked, keys of their own making (post-quantum hybrid)",
        )
        count = len(self._stage.persons)
        show.note(f"公安户籍库：SQLite，{count} 名虚构人员", f"the register: SQLite, {count} invented people")

    def _agree(self) -> None:
        show, stage = self._show, self._stage
        show.chapter("授权", "Grants")
        for office, fields in ((HEALTH, GRANTED), (INSURANCE, GRANTED[:1])):
            stage.accept(stage.apply(office, fields))
            show.done(
                f"{office.name.zh}申请 {len(fields)} 项，公安批准",
                f"{office.name.en} applied for {len(fields)}, public security accepted",
            )
        self._expiry = datetime.now(UTC) + SHORT_TERM
        stage.accept(stage.apply(CIVIL, GRANTED[:1], until=self._expiry))
        seconds = SHORT_TERM.seconds
        show.done(f"{CIVIL.name.zh}的授权只有 {seconds} 秒", f"{CIVIL.name.en}: a grant of {seconds} seconds")
        stage.await_grants({POLICE.agent: 3, HEALTH.agent: 1, INSURANCE.agent: 1})

    # -- 2: what is granted ------------------------------------------------------------------------------

    def _ask(self, health: Counter) -> None:
        self._show.chapter("查询与核验", "Query and verify")
        first, *others = residents(self._stage.persons)[:3]
        self._query(health, first)
        for person in others:
            self._query(health, person)
        claims = {"name": first.name, "household_number": "00000000000"}
        checked, one = health.verify(first.citizen_id, claims, case=CASE)
        due = {"name": True, "household_number": False}
        self._outcome.exchanges.append(one)
        self._outcome.expect(checked.results == due, "verify: not what the register says")
        self._outcome.expect(one.receipt_verified, "verify: receipt")
        self._show.exchanged("核验：姓名一致，户号不一致", "verify: name matches, household number not", one)

    def _query(self, health: Counter, person: Person) -> None:
        answer, one = health.query(person.citizen_id, GRANTED, case=CASE)
        due = (person.name, person.address, person.household_no, person.police_station)
        self._outcome.expect(
            answer.records == [dict(zip(GRANTED, due, strict=True))],
            "query: the record is not the register's",
        )
        self._outcome.expect(one.receipt_verified, "query: receipt")
        self._show.exchanged("查询户籍信息", "household record", one)
        if not self._outcome.exchanges and answer.receipt is not None:
            self._show.record("卫健收到", "what health received", answer.records[0])
            receipt = audit_pb2.Receipt.FromString(answer.receipt.serialised())
            self._show_entry(receipt)
        self._outcome.exchanges.append(one)

    def _show_entry(self, receipt: audit_pb2.Receipt) -> None:
        entry = views.entry(receipt.index, receipt.leaf)
        self._show.entry(
            "网关所见，也是日志所记：没有任何值",
            "what the gateway saw and logged: no value",
            {name: entry[name] for name in SEEN if name in entry},
        )

    # -- 3: what is not ----------------------------------------------------------------------------------

    def _refuse(self, health: Counter) -> None:
        stage = self._stage
        self._show.chapter("应当拒绝的", "What must be refused")
        person = residents(stage.persons)[0].citizen_id
        outside = [GRANTED[0], "relation"]
        self._expect_refusal(FIELD, FieldNotGranted, lambda: health.try_query(person, outside, case=CASE))
        self._expect_refusal(NO_CASE, CaseRequired, lambda: health.try_query(person, GRANTED, case=""))
        stage.until(lambda: datetime.now(UTC) > self._expiry, "grant expired")
        with stage.counter(CIVIL.agent) as civil:
            self._expect_refusal(
                EXPIRED, GrantExpired, lambda: civil.try_query(person, GRANTED[:1], case=CASE)
            )
        with stage.counter(INSURANCE.agent) as insurance:
            self._revoke(insurance, person)

    def _revoke(self, insurance: Counter, person: str) -> None:
        stage, outcome = self._stage, self._outcome
        _, one = insurance.query(person, GRANTED[:1], case=CASE)
        outcome.exchanges.append(one)
        outcome.expect(one.receipt_verified, "query before the revocation: receipt")
        self._show.exchanged("吊销之前，医保查询", "medical insurance, before its revocation", one)
        agent = self._world.held(INSURANCE.agent).identity().uri
        number = stage.revoke(agent)
        took_s = stage.until(lambda: agent not in stage.linked(), "revoked link closed")
        self._show.done(
            f"安全员吊销医保证书（信任列表第 {number} 号），{took_s:.2f} 秒后连接已断",
            f"officer revoked its certificate (trust list {number}), its link closed in {took_s:.2f} s",
        )
        name = Revoked("").name
        stage.until(lambda: insurance.status()["link"].reason == name, "revoked agent told why")
        error, one = insurance.try_query(person, GRANTED[:1], case=CASE)
        outcome.expect(one.status == REFUSED, f"{REVOKED.en}: {one.status}")
        self._refused(REVOKED, Revoked, error)

    def _expect_refusal(self, why: Text, due: type[ExchangeError], ask: Callable[[], Asked]) -> None:
        error, one = ask()
        self._outcome.exchanges.append(one)
        self._outcome.expect(one.receipt_verified, f"{why.en}: receipt")
        self._refused(why, due, error)

    def _refused(self, why: Text, due: type[ExchangeError], error: ExchangeError | None) -> None:
        reason = error.name if error else "RELEASED"
        self._outcome.refusals.append((why, reason))
        self._outcome.expect(isinstance(error, due), f"{why.en}: {reason}")
        if error is not None:
            self._show.refused(why, reason, Text(error.sentence.zh, error.sentence.en))

    # -- 4: the log --------------------------------------------------------------------------------------

    def _verify(self) -> None:
        stage, world = self._stage, self._world
        self._show.chapter("审计日志", "The audit log")
        trust, note = stage.trust_list(), stage.checkpoint()
        keys = trust.gateways[stage.origin].log_keys
        head = open_checkpoint(note, origin=stage.origin, log_keys=keys)
        world.stop_agents()
        world.processes[GATEWAY].stop()
        report = verify_folder(world.layout.home(GATEWAY), trust)
        agrees = report.size > head.size or (report.size, report.root) == (head.size, head.root)
        self._outcome.audit = Audited(
            entries=report.size, root=report.root.hex(), verified=report.whole and agrees
        )
        for fault in report.faults:
            self._outcome.faults.append(f"log: {fault}")
        self._show.done(
            f"离线验证：{report.size} 条，与审计员所持检查点一致",
            f"verified offline: {report.size} entries, agreeing with the head that the auditor holds",
        )
