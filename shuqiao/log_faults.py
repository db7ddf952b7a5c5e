"""What `shuqiao audit verify --log` finds wrong, for people: the place and the fault in both languages."""

from shuqiao.phrases import Phrases
from shuqiao.words import Text

_PLACES = Phrases(
    (
        (r"entry (\d+)", "记录 {0}"),
        (r"entries (\d+) to (\d+)", "记录 {0} 至 {1}"),
        (r"tile (\d+/\d+)", "瓦片 {0}"),
        (r"segment (\d+)-(\d+)", "分段 {0} 至 {1}"),
        (r"segments", "分段"),
        (r"head", "日志头"),
        (r"folder", "目录"),
    )
)
_FAULTS = Phrases(
    (
        (r"has more faults than are listed", "问题过多，未全部列出"),
        (r"is damaged or cannot be read \((.+)\)", "已损坏或不能读取（{0}）"),
        (r"opens an epoch upon other entries than those below it", "所开启的纪元与其前的记录不符"),
        (r"the log ends at (\d+), but (\d+) entries were signed", "日志止于 {0} 条，但曾签署 {1} 条"),
        (r"the first (\d+) entries are not those that were signed", "前 {0} 条不是当时签署的记录"),
        (r"no key is trusted for this log", "没有此日志的可信公钥"),
        (r"no key is trusted for (.+)", "没有 {0} 的可信公钥"),
        (r"is of (.+), the head of (.+)", "属于 {0}，日志头属于 {1}"),
        (r"is missing or not signed by the log's key", "缺失，或不是由日志密钥签署"),
        (r"missing", "缺失"),
        (r"the (\d+) entries do not lead to its root", "{0} 条记录得不出其根"),
        (r"its checkpoint does not verify \((.+)\)", "其检查点验证不通过（{0}）"),
        (r"its checkpoint states another size or root", "其检查点所述的条数或根不同"),
        (r"lies beyond the head", "在日志头之外"),
        (r"the tags beside it are not those whose root it holds", "其旁的标签与其所记的根不符"),
        (r"the tags sealed beside it are not those whose root it holds", "一同封存的标签与其所记的根不符"),
        (r"has tags beside it, but is not there", "旁有标签，但记录不在"),
        (r"has tags beside it, but lies beyond the head", "旁有标签，但在日志头之外"),
        (r"is no entry of this log \((.+)\)", "不是此日志的记录（{0}）"),
        (r"differs from what tile (\S+) states", "与瓦片 {0} 所述不同"),
        (r"differs from what the tiles state", "与瓦片所述不同"),
        (r"differs from tile (\S+)", "与瓦片 {0} 不同"),
        (r"differs from (.+)", "与 {0} 不同"),
        (r"missing or of a wrong length", "缺失或长度不对"),
        (r"is erased, but not all of its rows are", "已销毁，但其记录仍有留存"),
        (r"the entries kept from it are not those that the log says", "其留存的记录与日志所述不同"),
        (r"no entry of the log says (\w+)", "日志中没有 {0} 记录"),
        (r"entry (\d+) does not say (\w+) of it", "记录 {0} 所述的 {1} 与其不符"),
        (r"(\S+) is not the file that was sealed", "{0} 不是封存时的文件"),
        (
            r"its key is gone, and no entry of the log says that it was erased",
            "密钥已不在，而日志中没有销毁记录",
        ),
        (r"entries (\d+) to (\d+) differ from their tile", "记录 {0} 至 {1} 与其瓦片不同"),
        (r"(\S+) is of another log or key", "{0} 属于另一日志或密钥"),
        (r"(\S+) is missing or damaged", "{0} 缺失或已损坏"),
        (r"segment: header too short", "文件头过短"),
        (r"table or length of the file", "文件的索引或长度不对"),
        (r"does not open", "不能解密"),
        (r"No such file or directory", "没有此文件"),
    )
)


def place(english: str) -> Text:
    """Return where a fault is."""
    return _PLACES.said(english)


def fault(english: str) -> Text:
    """Return what is wrong there."""
    return _FAULTS.said(english)
