"""stillframe status as people read it: what a daemon says, in text. A stand-in answers, so that each figure is known."""

import contextlib
import json
import socket
import tempfile
import threading

from cli_test import stillframe, stillframe_json

SESSION = {
    "run": "main", "store": "/runs/gpt", "pid": 7, "alive": True, "mode": "double", "arena_bytes": 1024, "image_bytes": 512,
    "durable": 5, "verified": 4, "failed": 1, "consecutive_failures": 1, "last_error": "no room", "persisting": "idle",
    "persisting_seconds": None, "last_durable_step": 40, "last_durable_age_seconds": 2.5,
    "crash_cost": {"trainer_crash_seconds": 41.2, "power_loss_seconds": 250.0,
                   "text": "trainer crash: 41 s; power loss: 4 min 10 s\x1b[31m"},
    "suggested_cadence": {"snapshot_every_seconds": 12.0, "mean_block_seconds": 0.02, "text": "a snapshot every 12 s",
                          "mean_time_between_failures_seconds": 3600.0},
    "alarms": [{"kind": "stale_tensors", "text": "lm_head did not change\x1b[31m", "since_step": 30, "times": 2}],
}  # fmt: skip
STATUS = {
    "daemon": {"pid": 9, "version": "1.2", "socket": "/run/s", "uptime_seconds": 61.0,
               "level": "default", "notice": "libzstd 1.4 has no encoder\x1b[31m"},
    "arena": {"budget_bytes": 4096, "used_bytes": 1024},
    "scrub": {
        "/runs/gpt": {"checked": 12, "bad": 1, "last": "000003: bad: \x9btorn", "reading": "000004"},
        "/runs/new": {"checked": 0, "bad": 0, "last": "", "reading": ""},
    },
    "sessions": [SESSION],
    "sessions_left_out": 3,
}


@contextlib.contextmanager
def daemon_that_says(document):
    with tempfile.TemporaryDirectory(prefix="sf-status-") as folder:
        path = f"{folder}/s.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(path)
            listener.listen()
            listener.settimeout(60)

            def answer():
                line, _ = listener.accept()
                with line:
                    assert json.loads(line.recv(1 << 17))["type"] == "status_request"
                    line.send(json.dumps({"type": "status_reply", "json": json.dumps(document)}).encode())

            thread = threading.Thread(target=answer)
            thread.start()
            yield path
            thread.join()


def test_standing_alarms_and_the_scrub_are_printed():
    with daemon_that_says(STATUS) as path:
        lines = stillframe("status", "--socket", path).stdout.splitlines()
    assert "run main: alarm stale_tensors since step 30, 2 time(s): lm_head did not change?[31m" in lines
    assert "scrub of /runs/gpt: 12 checked, 1 bad; last 000003: bad: ?torn; reading 000004" in lines
    assert "scrub of /runs/new: 0 checked, 0 bad" in lines
    assert any("last error" in line and "no room" in line for line in lines)
    assert any("3 more" in line for line in lines)
    assert "libzstd 1.4 has no encoder?[31m" in lines


def test_what_a_crash_now_would_cost_is_printed_for_each_run_of_which_it_is_known():
    ended = {**SESSION, "run": "old", "alive": False, "crash_cost": None, "suggested_cadence": None}
    with daemon_that_says({**STATUS, "sessions": [SESSION, ended]}) as path:
        lines = stillframe("status", "--socket", path).stdout.splitlines()
    assert "run main: lost by a crash now: trainer crash: 41 s; power loss: 4 min 10 s?[31m" in lines
    assert "run main: suggested: a snapshot every 12 s" in lines
    assert not any(line.startswith("run old: ") and ("crash" in line or "suggested" in line) for line in lines)


def test_json_is_what_the_daemon_said_and_the_help_names_its_members():
    with daemon_that_says(STATUS) as path:
        assert stillframe_json("status", "--socket", path) == STATUS
    words = stillframe("status", "--help").stdout
    for member in [*STATUS, *STATUS["daemon"], *STATUS["arena"], *STATUS["scrub"]["/runs/gpt"], *SESSION, *SESSION["alarms"][0],
                   *SESSION["crash_cost"], *SESSION["suggested_cadence"]]:
        assert member in words, member


def test_an_older_daemon_that_says_less_is_shown_as_far_as_it_goes():
    with daemon_that_says({"daemon": {"pid": 9}, "sessions": []}) as path:
        assert "no sessions" in stillframe("status", "--socket", path).stdout
