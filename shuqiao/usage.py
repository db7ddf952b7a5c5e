"""What typer says about wrong usage, in Chinese; it knows English alone.

A sentence that is not known here stays as it is: it is better read in English than not at all.
"""

import re

from shuqiao.words import Text

_NOISE = re.compile(r"Value error, ")
_SENTENCES = tuple(
    (re.compile(pattern, re.DOTALL), chinese)
    for pattern, chinese in (
        (r"Missing argument '(.+?)'\.", "缺少参数 {0}"),
        (r"Missing option '(.+?)'\.", "缺少选项 {0}"),
        (r"Missing command\.", "缺少子命令"),
        (r"No such command '(.+?)'\..*", "没有命令 {0}"),
        (r"No such option: (\S+) ?\(Possible options: (.+)\)", "没有选项 {0}，相近的有 {1}"),
        (r"No such option: (\S+)(?: Did you mean (.+)\?)?", "没有选项 {0}"),
        (r"Got unexpected extra argument(?:s|\(s\))? \((.+)\)\.?", "多余的参数：{0}"),
        (r"Option '(.+?)' requires an argument\.", "选项 {0} 须有值"),
        (r"Option '(.+?)' does not take a value\.", "选项 {0} 不带值"),
        (r"Invalid value for (.+?): '(.*)' is not one of (.+?)\.?", "{0} 不能为 {1}，只能是 {2}"),
        (r"Invalid value for (.+?): (.+)", "{0} 的值不对：{1}"),
        (r"Invalid value: (.+)", "值不对：{0}"),
    )
)


def translated(message: str) -> Text:
    """Return what was used wrongly in both languages.

    Args:
        message: as typer formats it.
    """
    english = _NOISE.sub("", message)
    for pattern, chinese in _SENTENCES:
        fits = pattern.fullmatch(english)
        if fits is not None:
            return Text(chinese.format(*(part.replace("'", "") for part in fits.groups(""))), english)
    return Text(english, english)
