"""One Chinese word for one thing, wherever people read: documents, examples, help, output, errors."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "deploy", "proto", "exchange", "certs", "gateway", "agent", "witness", "shuqiao")
KINDS = {".md", ".py", ".toml", ".proto", ".cedar", ".service"}
WRONG = {
    "前置节点": re.compile("(?<!网络)代理|(?<!前置)节点|前置机"),
    "异议": re.compile("争议"),
    "经办人": re.compile("操作员"),
    "放行": re.compile("释放"),
}
"""The word for it, and words that others use for the same. A 网络代理 is a proxy."""


def test_each_thing_has_one_word() -> None:
    files = [*ROOT.glob("*.md"), *(file for name in FOLDERS for file in (ROOT / name).rglob("*"))]
    read = [(file, file.read_text(encoding="utf-8")) for file in files if file.suffix in KINDS]
    assert len(read) > 500
    found = [
        f"{file.relative_to(ROOT)}: {hit[0]} → {word}"
        for file, text in read
        for word, wrong in WRONG.items()
        for hit in wrong.finditer(text)
    ]
    assert found == []
