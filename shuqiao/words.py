"""The command's own words in Chinese and English, and which of the two a person wants.

Help texts are written as "中文 | English" in one string; everything else is a Text. Reasons and remedies
are not here but in exchange/sentences.py, which agents and gateways use as well.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

SEPARATOR = " | "


class Language(StrEnum):
    """A language of the command."""

    ZH = "zh"
    EN = "en"


class Text(NamedTuple):
    """One thing said in both languages."""

    zh: str
    en: str

    def of(self, language: Language) -> str:
        """Return it in a language."""
        return self.zh if language is Language.ZH else self.en

    def filled(self, **values: object) -> "Text":
        """Return it with values put in for names in braces."""
        return Text(self.zh.format(**values), self.en.format(**values))


def language_from(environ: Mapping[str, str]) -> Language:
    """Return the language that the environment asks for; Chinese where it asks for nothing.

    Args:
        environ: SHUQIAO_LANG decides, then LC_ALL, LC_MESSAGES and LANG.
    """
    for name in ("SHUQIAO_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        wanted = environ.get(name, "").lower()
        if wanted:
            return Language.EN if wanted.startswith("en") else Language.ZH
    return Language.ZH


def pick(text: str, language: Language) -> str:
    """Return one half of "中文 | English"; a text without both halves as it is."""
    zh, separator, en = text.partition(SEPARATOR)
    if not separator:
        return text
    return zh if language is Language.ZH else en


PANELS = {
    "option": Text("选项", "Options"),
    "argument": Text("参数", "Arguments"),
    "command": Text("命令", "Commands"),
}


def localise(command: Any, language: Language) -> Any:
    """Put the help of a command and of all below it into one language.

    Args:
        command: what typer.main.get_command returns; its type is private to typer.
        language: the language.

    Returns:
        The same object.
    """
    for attribute in ("help", "short_help", "epilog"):
        text = getattr(command, attribute, None)
        if text:
            setattr(command, attribute, pick(text, language))
    command.rich_help_panel = PANELS["command"].of(language)
    for parameter in command.params:
        if getattr(parameter, "help", None):
            parameter.help = pick(parameter.help, language)
        parameter.rich_help_panel = PANELS[parameter.param_type_name].of(language)
    _localise_help_option(command, language)
    for child in getattr(command, "commands", {}).values():
        localise(child, language)
    return command


HELP = Text("显示帮助并退出", "Show this message and exit")


def _localise_help_option(command: Any, language: Language) -> None:
    """The option --help is made when it is asked for, so it is put into words there."""
    make = command.get_help_option

    def made(context: Any) -> Any:
        option = make(context)
        if option is not None:
            option.help = HELP.of(language)
            option.rich_help_panel = PANELS["option"].of(language)
        return option

    command.get_help_option = made


_ENUMS: dict[str, Text] = {
    "query": Text("查询", "query"),
    "verify": Text("核验", "verify"),
    "unconditional": Text("无条件", "unconditional"),
    "conditional": Text("有条件", "conditional"),
    "not_shared": Text("不予共享", "not shared"),
    "pending": Text("待审批", "pending"),
    "active": Text("有效", "active"),
    "paused": Text("已暂停", "paused"),
    "rejected": Text("已拒绝", "rejected"),
    "revoked": Text("已撤销", "revoked"),
    "accept": Text("批准", "accept"),
    "reject": Text("拒绝", "reject"),
    "pause": Text("暂停", "pause"),
    "resume": Text("恢复", "resume"),
    "revoke": Text("撤销", "revoke"),
    "published": Text("生效", "in force"),
    "suspended": Text("已暂停", "suspended"),
    "in_review": Text("待审核", "in review"),
    "superseded": Text("已被取代", "superseded"),
    "backward": Text("兼容", "backward"),
    "breaking": Text("不兼容", "breaking"),
    "realtime": Text("实时", "real time"),
    "daily": Text("每日", "daily"),
    "weekly": Text("每周", "weekly"),
    "monthly": Text("每月", "monthly"),
    "quarterly": Text("每季度", "quarterly"),
    "yearly": Text("每年", "yearly"),
    "irregular": Text("不定期", "irregular"),
    "mask_keep": Text("保留首尾", "keep both ends"),
    "mask_year": Text("只留年", "year only"),
    "mask_month": Text("只留年月", "year and month"),
    "mask_redact": Text("全部隐去", "redacted"),
    "mask_prefix": Text("只留前几位", "first digits"),
    "mask_band": Text("分段取整", "band"),
    "mask_pseudonym": Text("假名", "pseudonym"),
    "supervising": Text("待监督部门同意", "waits for the supervisor"),
    "ended": Text("已退出", "given back"),
    "extend": Text("延长", "extend"),
    "supervise": Text("监督同意", "supervise"),
    "overrule": Text("监督否决", "overrule"),
    "exit": Text("退出", "give back"),
    "attest_deletion": Text("声明已删除", "attest deletion"),
    "decide": Text("审批", "decide"),
    "delete": Text("声明删除", "attest deletion"),
    "whole": Text("整体授权", "whole"),
    "domain": Text("分领域授权", "by domain"),
    "scenario": Text("依场景授权", "by scenario"),
    "in": Text("等于其一", "one of"),
    "prefix": Text("前缀为", "begins with"),
    "day": Text("天", "day"),
    "month": Text("月", "month"),
    "term": Text("授权期", "term"),
    "on_demand": Text("按需", "on demand"),
    "batch": Text("批量", "batch"),
    "subscribe": Text("订阅", "subscribe"),
    "released": Text("已放行", "released"),
    "refused": Text("已拒绝", "refused"),
    "failed": Text("失败", "failed"),
    "refusals": Text("拒绝汇总", "refusals"),
    "log_opened": Text("日志启用", "log opened"),
    "organisation": Text("部门登记", "organisation"),
    "resource": Text("资源发布", "resource"),
    "resource_state": Text("资源状态", "resource state"),
    "bundle": Text("密钥包", "key bundle"),
    "grant": Text("授权申请", "grant"),
    "grant_event": Text("授权决定", "grant event"),
    "case": Text("办件", "case"),
    "claim": Text("自述", "claim"),
    "not_open": Text("未开办", "not open"),
    "trust_list": Text("信任列表", "trust list"),
    "read": Text("日志查阅", "read"),
    "finding": Text("风险发现", "risk finding"),
    "finding_decision": Text("风险发现处理", "decision on a finding"),
    "exchange": Text("交换", "exchange"),
    "administrative": Text("管理操作", "administrative act"),
    "erased": Text("已销毁", "erased"),
    "dispute": Text("异议", "dispute"),
    "demand": Text("需求", "demand"),
    "suspend": Text("暂停", "suspend"),
    "notice": Text("提示", "notice"),
    "warning": Text("警告", "warning"),
    "critical": Text("严重", "critical"),
    "approval": Text("须经批准", "approval"),
    "refuse": Text("拒绝", "refuse"),
    "approve": Text("批准", "approve"),
    "uphold": Text("维持", "uphold"),
    "dismiss": Text("误报", "dismiss"),
    "review_draw": Text("抽查抽样", "review draw"),
    "review_event": Text("抽查办理", "review event"),
    "ticket": Text("异议与需求", "ticket"),
    "ticket_event": Text("异议与需求办理", "ticket event"),
    "correction": Text("更正告知", "correction"),
    "quality": Text("质量报告", "quality report"),
    "open": Text("待交办", "open"),
    "assigned": Text("待办理", "assigned"),
    "answered": Text("已答复", "answered"),
    "declined": Text("不予采纳", "declined"),
    "corrected": Text("已更正", "corrected"),
    "withdrawn": Text("已撤回", "withdrawn"),
    "resource_withdrawn": Text("已下架", "withdrawn"),
    "resource_suspended": Text("已暂停", "suspended"),
    "assign": Text("交办", "assign"),
    "answer": Text("答复", "answer"),
    "decline": Text("不予采纳", "decline"),
    "correct": Text("更正", "correct"),
    "withdraw": Text("撤回", "withdraw"),
    "acknowledge": Text("确认", "acknowledge"),
    "supplement": Text("补充标识", "supplement"),
    "opened": Text("已打开", "opened"),
    "unopened": Text("未能打开", "not opened"),
    "for-another-agent": Text("密封给另一前置节点", "sealed to another agent"),
    "none": Text("无", "none"),
    "tag_key_erased": Text("标签密钥已擦除", "tag key erased"),
    "log_key": Text("日志密钥更换", "log key"),
    "log_epoch": Text("日志新纪元", "log epoch"),
    "rules": Text("规则设定", "rules"),
    "segment_sealed": Text("分段封存", "segment sealed"),
    "segment_erased": Text("分段擦除", "segment erased"),
    "alert": Text("告警", "alert"),
    "stop": Text("紧急停止", "emergency stop"),
    "stop_lifted": Text("解除紧急停止", "stop lifted"),
    "field": Text("信息项", "field"),
    "region": Text("全地区", "region"),
    "holds": Text("有效", "holds"),
    "over": Text("已到期", "over"),
    "lifted": Text("已解除", "lifted"),
    "rehearsal": Text("演练", "rehearsal"),
    "agent": Text("前置节点", "agent"),
    "gateway": Text("网关", "gateway"),
    "authority": Text("认证机构", "authority"),
    "steward": Text("数据专员", "steward"),
    "officer": Text("安全员", "officer"),
    "operator": Text("运维", "operator"),
    "auditor": Text("审计", "auditor"),
    "admin": Text("管理员", "administrator"),
    "match": Text("一致", "match"),
    "mismatch": Text("不一致", "mismatch"),
    "ready": Text("可用", "ready"),
    "second-person": Text("需第二人批准", "needs a second person"),
    "countersignature": Text("需本部门会签", "needs a countersignature"),
}


def term(word: str, language: Language) -> str:
    """Return a word of the contract in a language; a word that has no translation as it is."""
    text = _ENUMS.get(word)
    return text.of(language) if text else word


def unread(error: Exception) -> str:
    """Return why a file could not be read: what the system says, or that it does not hold what it should."""
    return getattr(error, "strerror", None) or "not a file of this kind"
