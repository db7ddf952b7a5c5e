"""The checklist before an application goes into service: what its sandbox's log shows, and what people sign.

What is measured is read from the log (shuqiao/sandbox/evidence.py). A refusal counts as met and handled where
the application was refused for that reason and answered about the same resource afterwards. What only people
can say is listed as open: the checklist is printed, signed and kept with the application's papers.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from exchange.v1 import audit_pb2, reason_pb2
from shuqiao.sandbox.evidence import KIND_WORDS, Record, Seen
from shuqiao.words import Text

LAST = 5
"""So many of the newest exchanges must have asked for no field outside the grant."""
FIELD = frozenset(
    {reason_pb2.REASON_FIELD_NOT_GRANTED, reason_pb2.REASON_NOT_SHARED, reason_pb2.REASON_UNKNOWN_FIELD}
)
CASE = frozenset({reason_pb2.REASON_CASE_REQUIRED, reason_pb2.REASON_CASE_NOT_OPEN})
PAUSED = frozenset({reason_pb2.REASON_GRANT_PAUSED})
LOST = frozenset(
    {
        reason_pb2.REASON_LINK_LOST,
        reason_pb2.REASON_PROVIDER_AWAY,
        reason_pb2.REASON_DEADLINE_PASSED,
        reason_pb2.REASON_SOURCE_DOWN,
        reason_pb2.REASON_SOURCE_TIMEOUT,
    }
)
MEASURED, OPTIONAL, SIGNED = "measured", "optional", "signed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One line of the checklist.

    Attributes:
        key: for programs.
        resource: what it is about; empty for all.
        says: what must be so.
        sort: measured, optional (measured too, but not required), or signed by people.
        done: whether it was seen; None for what people sign.
        seen: in what it was seen: an entry's index, or how many.
    """

    key: str
    resource: str
    says: Text
    sort: str
    done: bool | None
    seen: str = ""

    @property
    def missing(self) -> bool:
        """Whether it keeps the application from going into service."""
        return self.sort == MEASURED and not self.done


PEOPLE = (
    (
        "legal_basis",
        Text("法律依据与用途已经本部门法制机构确认", "legal basis and purpose confirmed by counsel"),
    ),
    ("grant", Text("正式授权已申请并由提供部门批准", "the grant in service applied for and accepted")),
    (
        "operators",
        Text("经办人代号与本部门人员对应表已建立并妥善保管", "register of operators' pseudonyms kept"),
    ),
    (
        "retention",
        Text("取得数据的保存期限与删除方式已确定", "term and deletion of what is received are settled"),
    ),
    ("token", Text("正式令牌由专人保管，更换办法已确定", "who keeps the token in service, and its rotation")),
)


def checklist(record: Record, resources: Sequence[str], *, events: bool) -> list[Item]:
    """Return the checklist of an application for some resources.

    Args:
        record: what the log tells of it.
        resources: ids.
        events: whether cases are events in the sandbox.
    """
    items = [
        Item(
            key="log",
            resource="",
            says=Text(
                "日志离线验证完整，每次交换都有记录", "the log verifies offline and has every exchange"
            ),
            sort=MEASURED,
            done=not record.faults and record.entries > 0,
            seen=record.faults[0] if record.faults else str(record.entries),
        )
    ]
    for resource in resources:
        items += _of_resource(record, resource, events=events)
    items += [Item(key=key, resource="", says=says, sort=SIGNED, done=None) for key, says in PEOPLE]
    return items


def _of_resource(record: Record, resource: str, *, events: bool) -> Iterator[Item]:
    seen = record.exchanges.get(resource, [])
    released = [one for one in seen if one.released]
    for kind in sorted(record.kinds.get(resource, frozenset())):
        zh, en = KIND_WORDS.get(kind, (str(kind), str(kind)))
        says = Text(f"已成功{zh}", f"a {en} was answered")
        yield _found(f"kind_{en}", resource, says, [one for one in released if one.kind == kind])
    yield _handled(
        "refusal_field",
        resource,
        Text("遇到并处理了授权外信息项的拒绝", "refused for a field outside the grant, and answered later"),
        seen,
        FIELD,
    )
    required = record.case_required.get(resource, False)
    if required:
        says = Text(
            "遇到并处理了无办件或办件未开办的拒绝", "refused without an open case, and answered later"
        )
        yield _handled("refusal_case", resource, says, seen, CASE)
    yield _handled(
        "refusal_paused",
        resource,
        Text("遇到并处理了授权暂停的拒绝", "refused while the grant was paused, and answered later"),
        seen,
        PAUSED,
    )
    newest = seen[-LAST:]
    yield Item(
        key="fields",
        resource=resource,
        says=Text(
            f"最近 {LAST} 次交换未请求授权外信息项", f"the last {LAST} exchanges asked for granted fields"
        ),
        sort=MEASURED,
        done=len(newest) == LAST and not any(one.reason in FIELD for one in newest),
        seen=str(len(newest)),
    )
    if required and events:
        both = [
            one
            for one in released
            if one.case_standing == audit_pb2.CASE_STANDING_OPEN and one.case_number in record.closed
        ]
        says = Text("办件先开办、后办结", "a case was opened for it, used and closed")
        yield _found("case", resource, says, both)
    named = [one for one in released if one.operator]
    yield Item(
        key="operator",
        resource=resource,
        says=Text("每次成功的交换都写明经办人", "every answered exchange names its operator"),
        sort=MEASURED,
        done=bool(released) and len(named) == len(released),
        seen=f"{len(named)}/{len(released)}",
    )
    says = Text("连接中断后重试成功（可选）", "asked again after a link or source was lost (optional)")
    yield _handled("retry", resource, says, seen, LOST, sort=OPTIONAL)


def _found(key: str, resource: str, says: Text, found: Sequence[Seen]) -> Item:
    return Item(
        key=key,
        resource=resource,
        says=says,
        sort=MEASURED,
        done=bool(found),
        seen=str(found[-1].index) if found else "",
    )


def _handled(
    key: str,
    resource: str,
    says: Text,
    seen: Sequence[Seen],
    reasons: Collection[int],
    *,
    sort: str = MEASURED,
) -> Item:
    met = next((one for one in seen if one.reason in reasons), None)
    after = next((one for one in seen if met is not None and one.released and one.index > met.index), None)
    shown = f"{met.index} → {after.index if after else '?'}" if met is not None else ""
    return Item(key=key, resource=resource, says=says, sort=sort, done=after is not None, seen=shown)
