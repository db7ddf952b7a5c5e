"""Process logs."""

import json
import subprocess
import sys


def log(line: str) -> dict[str, object]:
    code = (
        "from exchange.telemetry import set_up_logs; import structlog; set_up_logs('test');"
        f"structlog.get_logger('x').{line}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return dict(json.loads(done.stderr))


def test_a_listed_key_is_logged_as_json_on_standard_error() -> None:
    line = log("warning('link down', reason='LINK_LOST')")
    assert (line["event"], line["reason"], line["process"]) == ("link down", "LINK_LOST", "test")


def test_a_key_that_is_not_listed_is_dropped_and_named() -> None:
    line = log("warning('x', citizen_id='970102199001010011')")
    assert line["dropped"] == ["citizen_id"]
    assert "970102199001010011" not in json.dumps(line)


def test_a_disk_that_is_full_under_the_log_does_not_stop_the_process() -> None:
    code = (
        "from exchange.telemetry import set_up_logs; import structlog; set_up_logs('test');"
        "[structlog.get_logger('x').warning('x') for _ in range(1000)]; print('went on')"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=full, check=True)
    assert done.stdout == b"went on\n"
