"""The household scenario: for a newborn, health asks public security for the parents' household record.

1. The region comes to be: authority, people, gateway, catalogue, agents, grants.
2. Health queries and verifies; each answer comes sealed, signed, logged and with a receipt that is proven here.
3. What must be refused is refused: a field outside the grant, no case number, an expired grant, a revoked
   certificate.
4. The gateway's log is verified offline, by the trust list's word and nobody else's.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice

from exchange.checkpoint import open_checkpoint
from exchange.errors import CaseRequired, ExchangeError, FieldNotGranted, GrantExpired, Revoked
from gateway.audit.verify import verify_folder
from shuqiao.demo import cast
from shuqiao.demo.cast import CIVIL, GRANTED, HEALTH, INSURANCE, POLICE
from shuqiao.demo.counter import Counter
from shuqiao.demo.outcome import Audited, Outcome
from shuqiao.demo.show import Show
from shuqiao.demo.staging import Stage
from shuqiao.demo.world import GATEWAY, World
from shuqiao.words import Text

NAME = "household"
CASE = "LJ-2026-NB-000117"
SHORT_TERM = timedelta(seconds=4)
"""Long enough to be applied for and accepted, over by the time it is used."""

FIELD = Text("查询授权之外的信息项", "a field outside the grant")
NO_CASE = Text("未带办件编号", "no case number")
EXPIRED = Text("授权已过期", "an expired grant")
REVOKED = Text("证书已被吊销", "a revoked certificate")


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
            Text(
                "数桥演示 · 新生儿出生一件事：卫健向公安查询户籍",
                "Shuqiao: for a newborn, health asks public security for a household record",
            )
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
        show, world = self._show, self._world
        show.chapter(Text("认证机构与网关", "The authority and the gateway"))
        world.start_authority()
        show.done(Text("认证机构已建立，首批两位管理员", "authority founded, with two administrators"))
        self._stage.enrol_people()
        show.done(
            Text(
                "四位数据专员、安全员、审计已注册：一人制作令牌，另一人批准",
                "stewards, officer and auditor enrolled: one administrator makes a token, the other approves it",
            )
        )
        world.start_gateway()
        show.done(Text("网关已启动，仅 TLS 1.3 双向认证", "gateway up, mutual TLS 1.3 only"))

    def _enter(self) -> None:
        show = self._show
        show.chapter(Text("部门、目录与前置节点", "Departments, catalogue and agents"))
        self._stage.enter_offices()
        show.done(Text("四个部门已登记", "four departments entered"))
        self._stage.publish()
        show.done(
            Text(
                "公安发布“户籍信息”，数据专员签名，逐项分级",
                "public security published the household record, signed, a level for every field",
            )
        )
        self._stage.start_agents()
        show.done(
            Text(
                "四个前置节点已连接网关，密钥自行生成（抗量子混合）",
                "four agents linked, keys of their own making (post-quantum hybrid)",
            )
        )
        show.note(
            Text(
                f"公安户籍库：SQLite，{len(self._stage.persons)} 名虚构人员",
                f"public security's register: SQLite, {len(self._stage.persons)} invented people",
            )
        )

    def _agree(self) -> None:
        show, stage = self._show, self._stage
        show.chapter(Text("授权", "Grants"))
        for office, fields in ((HEALTH, GRANTED), (INSURANCE, GRANTED[:1])):
            stage.accept(stage.apply(office, fields))
            show.done(
                Text(
                    f"{office.name.zh}申请 {len(fields)} 项，公安数据专员批准",
                    f"{office.name.en} applied for {len(fields)}, public security's steward accepted",
                )
            )
        self._expiry = datetime.now(UTC) + SHORT_TERM
        stage.accept(stage.apply(CIVIL, GRANTED[:1], until=self._expiry))
        show.done(
            Text(
                f"{CIVIL.name.zh}的授权只有 {SHORT_TERM.seconds} 秒",
                f"{CIVIL.name.en} got one of {SHORT_TERM.seconds} seconds",
            )
        )
        stage.await_grants({POLICE.agent: 3, HEALTH.agent: 1, INSURANCE.agent: 1})

    # -- 2: what is granted ------------------------------------------------------------------------------

    def _ask(self, health: Counter) -> None:
        show, outcome = self._show, self._outcome
        show.chapter(Text("查询与核验", "Query and verify"))
        persons = list(islice(self._stage.persons, 3))
        for person in persons:
            answer, one = health.query(person.citizen_id, GRANTED, case=CASE)
            due = [
                {
                    "name": person.name,
                    "address": person.address,
                    "household_number": person.household_no,
                    "police_station": person.police_station,
                }
            ]
            outcome.exchanges.append(one)
            outcome.expect(answer.records == due, "query: the record is not the register's")
            outcome.expect(one.receipt_verified, "query: receipt")
            show.exchanged(Text("查询户籍信息", "household record"), one)
            if person is persons[0]:
                show.record(Text("卫健收到", "What health received"), answer.records[0])
        person = persons[0]
        claims = {"name": person.name, "household_number": "00000000000"}
        checked, one = health.verify(person.citizen_id, claims, case=CASE)
        outcome.exchanges.append(one)
        outcome.expect(
            checked.results == {"name": True, "household_number": False}, "verify: not what the register says"
        )
        outcome.expect(one.receipt_verified, "verify: receipt")
        show.exchanged(Text("核验：姓名一致，户号不一致", "verify: name matches, household number does not"), one)
        show.note(
            Text(
                "网关只见信息项名称、用途、办件与密文长度，不见任何值",
                "the gateway saw names of fields, purpose, case and lengths, no value",
            )
        )

    # -- 3: what is not ----------------------------------------------------------------------------------

    def _refuse(self, health: Counter) -> None:
        stage = self._stage
        self._show.chapter(Text("应当拒绝的", "What must be refused"))
        person = stage.persons[0].citizen_id
        self._expect_refusal(
            FIELD, FieldNotGranted, health, lambda: health.try_query(person, ["name", "relation"], case=CASE)
        )
        self._expect_refusal(
            NO_CASE, CaseRequired, health, lambda: health.try_query(person, GRANTED, case="")
        )
        stage.until(lambda: datetime.now(UTC) > self._expiry, "grant expired")
        with stage.counter(CIVIL.agent) as civil:
            self._expect_refusal(
                EXPIRED, GrantExpired, civil, lambda: civil.try_query(person, GRANTED[:1], case=CASE)
            )
        self._revoke(person)

    def _revoke(self, person: str) -> None:
        stage, outcome, show = self._stage, self._outcome, self._show
        with stage.counter(INSURANCE.agent) as insurance:
            _, one = insurance.query(person, GRANTED[:1], case=CASE)
            outcome.exchanges.append(one)
            show.exchanged(Text("医保查询（吊销之前）", "medical insurance, before the revocation"), one)
            agent = self._world.held(INSURANCE.agent).identity().uri
            number = stage.revoke(agent)
            took_s = stage.until(lambda: agent not in stage.linked(), "revoked link closed")
            show.done(
                Text(
                    f"安全员吊销医保证书（信任列表第 {number} 号），网关在 {took_s:.2f} 秒内断开其连接",
                    f"officer revoked its certificate (trust list {number}), its link closed in {took_s:.2f} s",
                )
            )
            stage.until(lambda: insurance.status()["link"].reason == Revoked("").name, "agent told why")
            error, one = insurance.try_query(person, GRANTED[:1], case=CASE)
            self._refused(REVOKED, Revoked, error)
            outcome.expect(one.status == "refused", f"{REVOKED.en}: {one.status}")

    def _expect_refusal(
        self,
        why: Text,
        due: type[ExchangeError],
        counter: Counter,
        ask: Callable[[], tuple[ExchangeError | None, object]],
    ) -> None:
        error, one = ask()
        self._outcome.exchanges.append(one)
        self._outcome.expect(one.receipt_verified, f"{why.en}: receipt")
        self._refused(why, due, error)

    def _refused(self, why: Text, due: type[ExchangeError], error: ExchangeError | None) -> None:
        reason = error.name if error else "RELEASED"
        self._outcome.refusals.append((f"{why.zh} {why.en}", reason))
        self._outcome.expect(isinstance(error, due), f"{why.en}: {reason}")
        if error is not None:
            self._show.refused(why, reason, Text(error.sentence.zh, error.sentence.en))

    # -- 4: the log --------------------------------------------------------------------------------------

    def _verify(self) -> None:
        stage, show = self._stage, self._show
        show.chapter(Text("审计日志", "The audit log"))
        trust, note = stage.trust_list(), stage.checkpoint()
        keys = trust.gateways[stage.origin].log_keys
        head = open_checkpoint(note, origin=stage.origin, log_keys=keys)
        self._world.stop_agents()
        self._world.processes[GATEWAY].stop()
        report = verify_folder(self._world.layout.home(GATEWAY), trust)
        whole = report.whole and report.size >= head.size
        if report.size == head.size:
            whole = whole and report.root == head.root
        self._outcome.audit = Audited(entries=report.size, root=report.root.hex(), verified=whole)
        for fault in report.faults:
            self._outcome.faults.append(f"log: {fault}")
        show.done(
            Text(
                f"{report.size} 条全部在案，根哈希与审计员所持一致",
                f"{report.size} entries, and the root that the auditor holds",
            )
        )
