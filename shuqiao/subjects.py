"""What entries of the log and errors are about, for people: gateways and agents tell it in English."""

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
_ERRORS = Phrases(
    (
        (r"two different (?:administrators|officers)", "须两名不同的人"),
        (r"two have signed already", "已有两人签名"),
        (r"the signer is not the caller", "签名人不是调用者"),
        (r"no trust list(?: yet)?", "没有信任列表"),
        (r"bearer token missing", "没有令牌"),
        (r"bearer token malformed", "令牌格式不对"),
        (r"bearer token unknown", "不认识的令牌"),
        (r"not a file of this kind", "不是这种文件"),
        (r"No such file or directory", "没有此文件"),
        (r"Permission denied", "没有权限"),
        (r"Is a directory", "是目录"),
        (r"File exists", "文件已存在"),
        (r"Connection refused", "连接被拒绝"),
        (r"timeout", "超时"),
        (r"not empty", "目录不空"),
        (r"empty or too long", "为空或过长"),
        (r"a citizen id", "含公民身份号码"),
        (r"no entry fits", "没有符合的记录"),
        (r"no keys", "没有密钥"),
        (r"neither trust list nor log key", "既不是信任列表，也不是日志公钥"),
        (r"neither receipt nor signed body", "既不是回执，也不是签名原文"),
        (r"neither a stop nor a lift", "既不是停止，也不是解除"),
        (r"neither checkpoint, receipt, heads.json nor bundle", "不是检查点、回执、heads.json 或证据包"),
        (r"no opening of an epoch", "不是纪元文件"),
        (r"the lift of another stop", "解除的是另一停止"),
        (r"another export is writing it", "另一导出正在写入"),
        (r"there is an authority already", "已有认证机构"),
        (r"not an authority's folder", "不是认证机构的目录"),
        (r"the stream ended", "流已结束"),
        (r"agent did not answer", "前置节点没有应答"),
        (r"no signature by a key of the log", "没有日志密钥的签名"),
        (r"Value error, name either not_after or days", "not_after 与 days 只写其一"),
        (r"name either not_after or days", "not_after 与 days 只写其一"),
        (r"(?:larger|more) than (\d+) bytes", "超过 {0} 字节"),
        (r"(\d+) to (\d+) bytes", "须为 {0} 至 {1} 字节"),
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
    head, separator, last = english.rpartition(": ")
    told = _ERRORS.said(last)
    if told.zh == told.en:
        return Text(english, english)
    return Text(f"{head}{separator}{told.zh}（{last}）", english)
