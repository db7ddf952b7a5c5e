"""What entries of the log and errors are about, for people: gateways and agents tell it in English."""

from shuqiao.error_subjects import ERRORS
from shuqiao.phrases import Phrases
from shuqiao.words import Text

_SUBJECTS = Phrases(
    (
        (r"Tail from (\d+): everything", "自 {0} 起依次读取全部"),
        (r"Tail from (\d+): (.*)", "自 {0} 起依次读取：{1}"),
        (r"Search: everything", "检索全部"),
        (r"Search: (.*)", "检索：{0}"),
        (r"Search from (\d+): everything", "自 {0} 起检索全部"),
        (r"Search from (\d+): (.*)", "自 {0} 起检索：{1}"),
        (r"GetEntry (\d+)", "查看记录 {0}"),
        (r"GetProofs (\d+) to (\d+), (\d+)", "取证明：记录 {0} 至 {1} 中的 {2} 条"),
        (r"tiles, entries (\d+) to (\d+)", "取日志瓦片：记录 {0} 至 {1}"),
        (r"Trace case_number (\S+) (.*)", "追溯办件 {0}：{1}"),
        (r"Trace subject (\S+) (.*)", "追溯主体 {0}：{1}"),
        (r"ListDisclosures", "查看报表：授权公示"),
        (r"GetUsage", "查看报表：用量"),
        (r"GetResponsibilities", "查看报表：责任清单"),
        (r"GetPerformance", "查看报表：评估指标"),
        (r"GetReview (\S+)", "查看抽查 {0}"),
        (r"DryRun since=(\S+) until=(\S+) limit=(\S+)", "试算规则：自 {0} 至 {1}，至多 {2} 次"),
        (r"Explain (\S+) (\S+)", "逐条判定：{0} 使用 {1}"),
        (r"version (\d+)", "第 {0} 版"),
        (r"grant (\S+) decide (\S+)", "授权 {0} 待 {1} 审批"),
        (r"grant (\S+) supervise (\S+)", "授权 {0} 待 {1} 监督同意"),
        (r"grant (\S+) delete (\S+)", "授权 {0} 待 {1} 声明已删除"),
        (r"resource (\S+) review (\S+)", "资源 {0} 待 {1} 审核"),
        (r"dispute (\S+) waits for (.+)", "异议 {0} 待 {1} 办理"),
        (r"demand (\S+) waits for (.+)", "需求 {0} 待 {1} 办理"),
    )
)


def subject(english: str) -> Text:
    """Return what an entry is about in both languages; ids and names as they are."""
    return _SUBJECTS.said(english)


def about(english: str) -> Text:
    """Return what an error is about in both languages: what is known of it in Chinese beside the original.

    Args:
        english: names and numbers, often before a colon, and what is wrong with them.
    """
    parts = english.split(": ")
    for count in range(len(parts)):
        tail = ": ".join(parts[count:])
        told = ERRORS.said(tail)
        if told.zh != told.en:
            head = "".join(f"{part}: " for part in parts[:count])
            return Text(f"{head}{told.zh}（{tail}）", english)
    return Text(english, english)
