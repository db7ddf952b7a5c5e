"""The words of reviews in both languages."""

from collections.abc import Mapping

from shuqiao.words import Text

WORDS: Mapping[str, Text] = {
    "random": Text("随机", "random"),
    "risk": Text("按风险", "by risk"),
    "drawn": Text("待分派", "drawn"),
    "assigned": Text("待说明", "assigned"),
    "justified": Text("已说明", "justified"),
    "closing": Text("待复核", "to be confirmed"),
    "closed": Text("已办结", "closed"),
    "draw": Text("抽样", "draw"),
    "select": Text("抽取", "select"),
    "assign": Text("分派", "assign"),
    "justify": Text("说明", "justify"),
    "close": Text("办结", "close"),
    "confirm": Text("复核同意", "confirm"),
    "contest": Text("复核不同意", "contest"),
    "reopen": Text("重新办理", "reopen"),
    "in_order": Text("无异常", "in order"),
    "finding": Text("有问题", "finding"),
    "suspicious_refusal": Text("可疑的拒绝", "suspicious refusal"),
    "broken": Text("验证不通过", "did not verify"),
    "no_case": Text("无办件编号", "no case"),
    "out_of_hours": Text("非工作时间", "out of hours"),
    "busy_operator": Text("经办人用量异常", "busy operator"),
    "busy_consumer": Text("部门用量异常", "busy consumer"),
    "many_fields": Text("信息项过多", "many fields"),
    "enumeration": Text("批量试探核验", "enumeration"),
    "administrative": Text("管理操作", "administrative act"),
    "revocation": Text("撤销、暂停或终止", "revocation"),
    "refused_call": Text("被拒绝的管理调用", "refused call"),
    "busy_reader": Text("日志查阅量异常", "busy reader"),
    "alert": Text("告警", "alert"),
}


def word(name: object) -> object:
    """Return a word of reviews in both languages; another as it is."""
    return WORDS.get(str(name), name)
