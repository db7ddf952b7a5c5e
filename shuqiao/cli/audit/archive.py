"""`shuqiao audit verify --log`: a gateway's folder offline, with its sealed and erased segments."""

from pathlib import Path
from typing import Any

from shuqiao.cli.invocation import Invocation
from shuqiao.output import BAD, Cell
from shuqiao.words import Text

OPENED = Text("{n} 条，已解密并逐条核对", "{n} entries, opened and hashed")
BY_TILES = Text("{n} 条，仅由哈希瓦片核对", "{n} entries, hashes verified by tiles only")
ERASED = Text(
    "{n} 条，期满已销毁，日志中有记录", "{n} entries, erased at the end of their term by entries of the log"
)

EPOCH = Text(
    "{origin} 自第 {first} 条起；{lost_zh}；由 {people} 开启：{note}",
    "{origin} from entry {first} on; {lost_en}; opened by {people}: {note}",
)
LOST = Text("此前的第 {first} – {last} 条已丢失", "entries {first} – {last} of before are lost")
NONE_LOST = Text("未丢失记录", "no entries are lost")


def verify_log(
    call: Invocation, folder: Path, trust: Path | None, root: Path | None, config: Path | None
) -> int:
    """Verify a folder and say what was found; return 0 when it is whole, 1 when not."""
    from gateway.audit.verification.verify import verify_folder
    from shuqiao import log_faults
    from shuqiao.trust_files import FROM_FOLDER, read_log_keys

    keys = read_log_keys(trust, root=root) if trust is not None else None
    segment_keys = _segment_keys(config) if config is not None else None
    report = verify_folder(
        folder,
        keys.by_origin if keys else None,
        anchor=keys.anchor if keys else None,
        keys=segment_keys,
    )
    source = keys.source if keys else FROM_FOLDER
    faults = [str(fault) for fault in report.faults]
    document = {
        "ok": not faults,
        "log": str(folder),
        "size": report.size,
        "root": report.root.hex(),
        "epochs": [_epoch(opened) for opened in report.epochs],
        "sealed": {"entries": report.sealed, "opened": report.opened},
        "erased": report.erased,
        "faults": faults,
        "key_source": source._asdict(),
    }

    def people() -> None:
        facts = [
            (Text("目录", "Folder"), folder),
            (Text("记录数", "Entries"), report.size),
            (Text("根", "Root"), report.root.hex()),
            (Text("公钥来源", "Key"), source),
        ]
        facts += [(Text("纪元", "Epoch"), _told(opened)) for opened in report.epochs]
        if report.sealed:
            said = (OPENED if report.opened else BY_TILES).filled(n=report.sealed)
            facts.append((Text("已封存", "Sealed"), said))
        if report.erased:
            facts.append((Text("已销毁", "Erased"), ERASED.filled(n=report.erased)))
        call.out.facts(Text("审计日志", "Audit log"), facts)
        if faults:
            columns = (Text("", ""), Text("位置", "Place"), Text("问题", "Fault"))
            rows = [
                [Cell("✗", BAD), log_faults.place(one.place), log_faults.fault(one.what)]
                for one in report.faults
            ]
            call.out.table(Text("问题", "Faults"), columns, rows)
        else:
            call.out.done(Text("日志完整", "The log is whole"))

    call.out.show(document, people)
    return 1 if faults else 0


def _epoch(opened: Any) -> dict[str, object]:
    epoch = opened.epoch
    return {
        "origin": epoch.origin,
        "first": epoch.kept_size,
        "lost": epoch.lost_size,
        "note": epoch.note,
        "opened_by": list(opened.people),
    }


def _told(opened: Any) -> Text:
    """Return an epoch in words."""
    facts = _epoch(opened)
    first, end = opened.epoch.kept_size, opened.epoch.lost_size
    lost = LOST.filled(first=first, last=end - 1) if end > first else NONE_LOST
    people = ", ".join("/".join(uri.split("/")[3:]) for uri in opened.people)
    return EPOCH.filled(
        origin=facts["origin"],
        first=first,
        lost_zh=lost.zh,
        lost_en=lost.en,
        people=people,
        note=facts["note"],
    )


def _segment_keys(config: Path) -> Any:
    """Open the key store of a gateway by its configuration.

    Raises:
        BadConfiguration: there is none, or the passphrase is not its.
    """
    from exchange.configuration import read_passphrase
    from exchange.errors import BadConfiguration
    from exchange.keystore import FileKeyStore
    from gateway.config import load

    told = load(config)
    folder = told.folder / "keys"
    if not folder.is_dir():
        # Opening would make one, which opens nothing.
        raise BadConfiguration(f"{folder}: no keys")
    return FileKeyStore(folder=folder, passphrase=read_passphrase(told.passphrase_file))
