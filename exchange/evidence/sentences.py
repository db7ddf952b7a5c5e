"""Says in words what a bundle proves and what it does not, from what was found."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timezone

from exchange.clock import BEIJING
from exchange.evidence.findings import Findings, Report, Said
from exchange.evidence.heads import Heads
from exchange.evidence.revocations import Revocations
from exchange.evidence.selection import Selection
from exchange.identity import Identity
from exchange.log_keys import Epoch
from exchange.trust import TrustList

IN_LOG = Said(
    "{n} 条记录（选取 {selected}，佐证 {supporting}）在日志 {origin} 中，自规模 {size} 的日志头以来未被改动",
    "{n} entries ({selected} selected, {supporting} supporting) are in the log {origin}, "
    "unaltered since its head of size {size}",
)
WHOLE_RANGE = Said(
    "第 {first} 至 {last} 条为该区间的全部记录，无缺失、无插入",
    "entries {first} to {last} are all entries of that range: none is missing, none was put in",
)
COSIGNED = Said(
    "该日志头由 {n} 个见证方联署（{names}），最早 {first}，最晚 {last}",
    "that head was cosigned by {n} witnesses ({names}), first at {first}, last at {last}",
)
QUORUM = Said("达到{whose}见证策略的法定数", "this is a quorum by the witness policy {whose}")
HISTORY = Said(
    "包内 {n} 个较早的日志头与该日志头同属一段历史",
    "{n} older heads in the bundle are of one history with it",
)
KNOWN = Said("您持有的 {n} 个日志头与之一致", "the {n} heads that you hold agree with it")
REQUESTS = Said(
    "{n} 次交换的请求确由所记的请求方以当时有效的密钥签名",
    "{n} requests were signed by the consumers that the entries name, with keys in force at that time",
)
RESPONSES = Said(
    "{n} 次交换的应答确由所记的提供方以当时有效的密钥签名",
    "{n} responses were signed by the providers that the entries name, with keys in force at that time",
)
GRANTS = Said(
    "{n} 次交换当时有生效且覆盖其内容的授权，由提供方有权人接受",
    "{n} exchanges were covered by a grant in force at that time, accepted by whoever may for the provider",
)
CASES = Said(
    "{n} 次交换所记的办件当时已由牵头部门开办且未办结",
    "{n} exchanges were for cases that their leads had opened and that were open at that time",
)
ACTS = Said(
    "{n} 条管理记录的声明由所记人员以当时有效的证书签署",
    "{n} administrative statements were signed by the persons or agents named, with certificates valid then",
)
ATTACHED = Said("{n} 个附件与其记录逐字节相符", "{n} attachments fit their entries to the byte")
EXPORTED = Said(
    "本包由 {who} 于 {when}（其时钟）导出，此后未被改动",
    "the bundle was made by {who} at {when} by its clock, and not altered since",
)

SELECTED = Said(
    "选取的完整性：可能还有其他符合条件的记录（{words}）",
    "that the selection is complete: other entries may fit ({words})",
)
UNLOGGED = Said("未记入日志的事没有发生", "that nothing happened that was not logged")
TRUTH = Said(
    "数据本身属实：只证明谁在何时问了什么、谁作了答",
    "that the data are true: it is shown who asked and who answered, not that the answer is right",
)
TIME = Said(
    "时间为网关所述；只由见证时间确定上限：{bound}",
    "the times are the gateway's word; witnesses bound them from above only: {bound}",
)
NO_BOUND = Said("无见证时间", "no witness told a time")
BOUND = Said("记录早于 {when}", "the entries are older than {when}")
UNANSWERED = Said(
    "{n} 次交换没有应答：被拒绝或失败，仅为网关所述",
    "{n} exchanges have no response: that they were refused or failed is the gateway's word",
)
UNPROVEN_REQUESTS = Said(
    "{n} 次在验签时即被拒绝的请求：未证明确由所记请求方发出",
    "{n} requests were refused at their signature: that the consumer named sent them is not shown",
)
BODIES = Said(
    "{n} 次交换未附原文：只知其摘要，内容未示",
    "the bodies of {n} exchanges are not attached: their digests are known, what they held is not shown",
)
NO_QUORUM = Said(
    "没有达到法定数的见证：网关可能向他人出示另一份历史",
    "no quorum of witnesses: the gateway may show others another history",
)
EXPORTERS_POLICY = Said(
    "见证策略出自包内，即导出人所述（用 --policy 指定您自己的）",
    "the witness policy is the exporter's word (name your own with --policy)",
)
NO_KNOWN = Said(
    "未与您所见过的日志头比较（用 --head 指定）",
    "no head that you have seen was compared (name one with --head)",
)
NO_OWN_TRUST = Said(
    "信任列表取自包内，仅以根证书验证：其后的吊销不可知",
    "the trust list is the bundle's own, checked against the root: revocations after it are not known",
)
LOST = Said(
    "第 {ranges} 条的内容：日志曾丢失这些记录，由两名管理员确认后另起新纪元",
    "what entries {ranges} held: the log lost them, as two administrators stated when it went on",
)
OLDER_KEY = Said(
    "日志头由其后已更换的密钥签发：以包内当时的信任列表为准",
    "that the log's key was good to this day: the newest trust list no longer names the one that signed",
)
UNDATED = Said(
    "{n} 个签名所用密钥已被吊销，吊销先后不明",
    "{n} signatures are by keys that are revoked; whether before or after, the bundle does not show",
)
LATER = Said(
    "{n} 个签名所用密钥其后被吊销：以当时为准，仍为有效证据",
    "{n} signatures are by keys that were revoked afterwards: they remain evidence",
)
UNPROVEN_CASES = Said(
    "{n} 次交换的办件是否开办仅为网关所述：包内没有其开办记录",
    "that the cases of {n} exchanges were open is the gateway's word: the bundle has no step of them",
)
UNSIGNED_ACTS = Said(
    "{n} 条管理记录（如查阅、拒绝）没有声明，仅为网关所述",
    "{n} administrative entries (reads, refusals) have no statement: they are the gateway's word",
)
UNREAD_ACTS = Said(
    "{n} 条管理记录的声明本版本不能解读：未验证其签名",
    "{n} administrative statements are of kinds that this version does not read: not checked",
)
REVOCATION_HISTORY = Said(
    "包内信任列表记录之外没有其他吊销：以所附列表为准",
    "that no trust list was entered besides those in the bundle: revocations are judged by these",
)
NOTHING = Said(
    "存在不成立之处：在查明前不得据此认定其余内容",
    "something does not hold: until it is explained, rely on nothing else",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the checks left behind."""

    selection: Selection | None
    heads: Heads | None
    revocations: Revocations | None
    exporter: Identity | None
    policy_brought: bool
    trust_brought: TrustList | None
    newest: TrustList | None
    epochs: Sequence[Epoch]
    first_ms: int
    last_ms: int


def report_of(findings: Findings, outcome: Outcome) -> Report:
    """Return the report; where anything does not hold, nothing is called proven."""
    ok = not findings.fault_count
    return Report(
        proven=tuple(_proven(findings, outcome)) if ok else (),
        unproven=tuple(_unproven(findings, outcome)) if ok else (NOTHING,),
        faults=tuple(findings.faults),
        fault_count=findings.fault_count,
        facts=_facts(findings, outcome),
    )


def _proven(findings: Findings, outcome: Outcome) -> list[Said]:
    selection, heads, counted = outcome.selection, outcome.heads, findings.counted
    if selection is None or heads is None or heads.target is None or outcome.exporter is None:
        return []
    told, target = selection.told, heads.target
    said = [
        IN_LOG.filled(
            n=selection.selected + selection.supporting,
            selected=selection.selected,
            supporting=selection.supporting,
            origin=told.origin,
            size=target.checkpoint.size,
        )
    ]
    if told.HasField("range"):
        said.append(WHOLE_RANGE.filled(first=told.range.first, last=told.range.end - 1))
    said += _witnessed(heads, outcome.policy_brought)
    if len(heads.heads) > 1:
        said.append(HISTORY.filled(n=len(heads.heads) - 1))
    for sentence, name in (
        (KNOWN, "known_heads"),
        (REQUESTS, "requests_hold"),
        (RESPONSES, "responses_hold"),
        (GRANTS, "grants_hold"),
        (CASES, "cases_hold"),
        (ACTS, "acts_signed"),
        (ATTACHED, "attachments_hold"),
    ):
        if counted[name]:
            said.append(sentence.filled(n=counted[name]))
    if outcome.revocations is not None and outcome.revocations.dated:
        said.append(LATER.filled(n=outcome.revocations.dated))
    said.append(EXPORTED.filled(who=outcome.exporter.uri, when=_shown(told.exported_at_ms)))
    return said


def _witnessed(heads: Heads, brought: bool) -> list[Said]:
    assert heads.target is not None
    if not heads.target.cosigned:
        return []
    times = [time_s * 1000 for _, time_s in heads.target.cosigned]
    names = ", ".join(key.name for key, _ in heads.target.cosigned)
    said = [COSIGNED.filled(n=len(times), names=names, first=_shown(min(times)), last=_shown(max(times)))]
    if heads.quorum:
        whose = Said("您的", "that you hold") if brought else Said("包内", "in the bundle")
        said.append(Said(QUORUM.zh.format(whose=whose.zh), QUORUM.en.format(whose=whose.en)))
    return said


def _unproven(findings: Findings, outcome: Outcome) -> list[Said]:
    counted, selection, heads = findings.counted, outcome.selection, outcome.heads
    said: list[Said] = []
    if selection is not None and selection.told.HasField("picked"):
        said.append(SELECTED.filled(words=", ".join(selection.told.picked.words) or "-"))
    said += [UNLOGGED, TRUTH, _time(heads)]
    for sentence, number in (
        (UNANSWERED, counted["unanswered"]),
        (UNPROVEN_REQUESTS, counted["requests_unproven"]),
        (BODIES, max(0, counted["exchanges"] - counted["bodies"])),
        (UNPROVEN_CASES, counted["cases_unproven"]),
        (UNSIGNED_ACTS, counted["acts_unsigned"]),
        (UNREAD_ACTS, counted["acts_unread"]),
        (UNDATED, outcome.revocations.undated if outcome.revocations is not None else 0),
    ):
        if number:
            said.append(sentence.filled(n=number))
    if heads is None or not heads.quorum:
        said.append(NO_QUORUM)
    elif not outcome.policy_brought:
        said.append(EXPORTERS_POLICY)
    if not counted["known_heads"]:
        said.append(NO_KNOWN)
    lost = [f"{one.kept_size}–{one.lost_size - 1}" for one in outcome.epochs if one.lost_size > one.kept_size]
    if lost:
        said.append(LOST.filled(ranges=", ".join(lost)))
    if counted["older_log_key"]:
        said.append(OLDER_KEY)
    if outcome.trust_brought is None:
        said.append(NO_OWN_TRUST)
    if counted["exchanges"]:
        said.append(REVOCATION_HISTORY)
    return said


def _time(heads: Heads | None) -> Said:
    times = [time_s for _, time_s in heads.target.cosigned] if heads and heads.target else []
    bound = BOUND.filled(when=_shown(min(times) * 1000)) if times else NO_BOUND
    return Said(TIME.zh.format(bound=bound.zh), TIME.en.format(bound=bound.en))


def _facts(findings: Findings, outcome: Outcome) -> dict[str, object]:
    selection, heads, counted = outcome.selection, outcome.heads, findings.counted
    target = heads.target.checkpoint if heads and heads.target else None
    return {
        "origin": selection.told.origin if selection else "",
        "selected": selection.selected if selection else 0,
        "supporting": selection.supporting if selection else 0,
        "size": target.size if target else 0,
        "root": target.root.hex() if target else "",
        "cosigned": len(heads.target.cosigned) if heads and heads.target else 0,
        "quorum": bool(heads and heads.quorum),
        "first_time": moment(outcome.first_ms),
        "last_time": moment(outcome.last_ms),
        "trust_list": outcome.newest.number if outcome.newest else 0,
        "exporter": outcome.exporter.uri if outcome.exporter else "",
        **{name: counted[name] for name in sorted(counted)},
    }


def moment(ms: int) -> str:
    """Return a time as programs get it, in UTC; empty for 0, the number where no calendar holds it."""
    return _text(ms, UTC).replace("+00:00", "Z") if ms else ""


def _shown(ms: int) -> str:
    """Return a time as a sentence tells it: in UTC+8, with the offset."""
    return _text(ms, BEIJING) if ms else ""


def _text(ms: int, zone: timezone) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, zone).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"
