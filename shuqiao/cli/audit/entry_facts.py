"""One entry of the log as names and values for people, in Chinese beside the codes that programs get."""

from collections.abc import Mapping
from typing import Any

from shuqiao.cli.audit.review_words import WORDS
from shuqiao.local_time import shown
from shuqiao.subjects import subject
from shuqiao.words import Language, Text, term

NAMES: Mapping[str, str] = {
    "index": "记录",
    "time": "时间",
    "gateway": "日志",
    "type": "类型",
    "state": "状态",
    "exchange_id": "交换编号",
    "decision": "结果",
    "reason": "代码",
    "rule": "规则",
    "hop": "环节",
    "consumer": "使用部门",
    "consumer_agent": "使用方前置节点",
    "provider": "提供部门",
    "provider_agent": "提供方前置节点",
    "operator": "经办人",
    "resource": "资源",
    "kind": "方式",
    "fields": "信息项",
    "purpose": "用途",
    "matter": "事项",
    "case_number": "办件编号",
    "case_standing": "办件状态",
    "application": "应用",
    "grant_id": "授权",
    "grant_revision": "授权修订",
    "request_digest": "请求摘要",
    "response_digest": "应答摘要",
    "request_bytes": "请求字节",
    "response_bytes": "应答字节",
    "admit_us": "准入微秒",
    "provider_us": "提供方微秒",
    "tag_period": "标签季度",
    "tag_count": "标签数",
    "act": "操作",
    "actor": "操作者",
    "subject": "对象",
    "caller": "调用者",
    "count": "次数",
    "since": "自",
    "severity": "程度",
    "segment_first": "分段首条",
    "segment_end": "分段末条之后",
    "scope": "停止范围",
    "target": "停止对象",
    "rehearsal": "演练",
    "note": "说明",
    "review_id": "抽查编号",
    "review_action": "抽查操作",
    "review_strategy": "抽样方式",
    "review_first": "范围首条",
    "review_end": "范围末条之后",
    "review_count": "应抽条数",
    "review_organisation": "所限部门",
    "review_resource": "所限资源",
    "review_note": "抽查缘由",
    "review_head_size": "日志头条数",
    "review_items": "抽中条目",
    "review_population": "可抽条目",
    "review_item": "抽查条目",
    "review_revision": "抽查修订",
    "review_assignee": "承办人",
    "review_verdict": "抽查结论",
    "review_text": "抽查说明",
    "finding_id": "风险发现",
    "finding_rule": "风险规则",
    "finding_action": "风险动作",
    "finding_consumer": "所涉使用部门",
    "finding_agent": "所涉前置节点",
    "finding_operator": "所涉经办人",
    "finding_resources": "所涉资源",
    "finding_count": "计数",
    "finding_window_s": "窗口秒数",
    "finding_from_tags": "依据主体标签",
    "finding_exchange_ids": "所涉交换",
    "finding_since": "约束自",
    "finding_until": "约束至",
    "finding_verdict": "风险处理",
    "finding_note": "处理说明",
    "resource_action": "资源操作",
    "resource_version": "资源版本",
    "resource_revision": "资源修订",
    "resource_note": "资源说明",
    "ticket_kind": "事由",
    "ticket_raised_by": "提出部门",
    "ticket_text": "事由说明",
    "ticket_resource": "所涉资源",
    "ticket_provider": "所涉提供部门",
    "ticket_exchange": "所涉交换",
    "ticket_fields": "所涉信息项",
    "ticket_title": "所需数据",
    "ticket_action": "办理",
    "ticket_assigned_to": "交办部门",
    "ticket_told_period": "所涉标签季度",
    "ticket_told_periods": "已查找的季度",
    "ticket_erased_periods": "密钥已擦除的季度",
    "ticket_unsearched_periods": "未查找的季度",
    "ticket_untraceable": "无从查找",
    "ticket_recipient": "告知部门",
    "ticket_exchanges": "所涉交换",
    "quality_consumer": "报告部门",
    "quality_agent": "报告前置节点",
    "quality_exchanges": "交换数",
    "quality_records": "记录数",
    "quality_dated": "有数据时间的",
    "quality_stale": "超时效的",
}
"""What the parts of `shuqiao.views.entry` are called."""

_TIMES = frozenset({"time", "since", "finding_since", "finding_until"})
_TERMS = frozenset(
    {"type", "decision", "kind", "case_standing", "act", "severity", "scope", "resource_action"}
    | {"ticket_kind", "ticket_action", "finding_action", "finding_verdict", "state"}
)
_REVIEWS = frozenset({"review_action", "review_strategy", "review_verdict"})


def facts(view: Mapping[str, Any]) -> list[tuple[Text, object]]:
    """Return the parts of an entry, named and in words."""
    return [(named(name), _told(name, value)) for name, value in view.items()]


def named(name: str) -> Text:
    """Return what a part is called: in Chinese beside its code."""
    return Text(f"{NAMES[name]} {name}", name) if name in NAMES else Text(name, name)


def _told(name: str, value: Any) -> object:
    if name in _TIMES:
        return shown(str(value))
    if name == "subject":
        told = subject(value)
        return told if told.zh == told.en else Text(f"{told.zh}（{told.en}）", told.en)
    if value and name in _REVIEWS:
        return _beside(WORDS[value].zh if value in WORDS else value, value)
    return _beside(term(value, Language.ZH), value) if value and name in _TERMS else value


def _beside(chinese: str, code: str) -> Text:
    return Text(code if chinese == code else f"{chinese} {code}", code)
