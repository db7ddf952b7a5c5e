"""Writes docs/errors.md from the errors themselves; with `--check` only compares."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from exchange.errors import BY_REASON, ExchangeError  # noqa: E402
from exchange.v1 import reason_pb2  # noqa: E402

PAGE = ROOT / "docs" / "errors.md"
HEAD = """# 错误代码 · Error codes

<!-- Made by deploy/errors_page.py from exchange/errors.py and exchange/sentences.py: do not edit. -->

每一次拒绝或失败都带有一个稳定的代码、出错的环节、中英文原因、是否值得重试以及处理办法。
程序只应判断代码，不应判断文字。

Every refusal and failure carries a stable code, the hop that says so, the reason in Chinese and English,
whether to try again, and what to do. Programs decide by the code, never by the words.

On gRPC it travels as `google.rpc.Status` with `ErrorInfo` (`reason` is the code, `domain` is `shuqiao`,
`metadata` holds `hop` and `subject`: names and ids only); over HTTP as JSON with the same parts.
"""
GROUP = """
## {code}

| 代码 Code | № | 原因 · Reason | 处理 · What to do | 重试 Retry |
|---|---|---|---|---|
"""
ROW = '| <a id="{anchor}"></a>`{name}` | {number} | {zh}<br>{en} | {remedy_zh}<br>{remedy_en} | {retry} |\n'


def render() -> str:
    """Return the page: reasons by gRPC code, in the order of their numbers."""
    groups: dict[str, list[ExchangeError]] = {}
    for number in sorted(BY_REASON):
        error = BY_REASON[number]()
        groups.setdefault(error.code.name, []).append(error)
    return HEAD + "".join(
        GROUP.format(code=code) + "".join(_row(error) for error in errors) for code, errors in groups.items()
    )


def _row(error: ExchangeError) -> str:
    return ROW.format(
        anchor=error.name.lower().replace("_", "-"),
        name=error.name,
        number=reason_pb2.Reason.Value(f"REASON_{error.name}"),
        retry="是 yes" if error.retryable else "否 no",
        **error.sentence._asdict(),
    )


def main(arguments: list[str]) -> int:
    """Write the page, or say whether it is what would be written."""
    page = render()
    if arguments == ["--check"]:
        return 0 if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page else 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
