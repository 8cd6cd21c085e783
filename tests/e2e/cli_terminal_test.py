"""What files say is shown, never obeyed: no subcommand lets a text from a store command the terminal."""

import json
import subprocess

import pytest

from cli_test import make_store, program

# Escape sequences of 7 and of 8 bits, a carriage return, a bell, DEL, and marks that turn the direction of text.
HOSTILE = "x\x1b]0;owned\x07\x9b31m\x85\r\x7f\u202eabc\u2066\u2069é"
RUNS = [
    ["ls", "{store}"],
    ["ls", "{store}", "--metric", HOSTILE],
    ["show", "{store}", "--tensors"],
    ["show", "{store}@1000"],
    ["diff", "{store}@2000", "{store}@3000"],
    ["verify", "{store}"],
    ["verify", "{store}", "--all"],
    ["scrub", "{store}", "--all"],
    ["restore", "{store}", "{store}/../out"],
    ["restore", "{store}@1000", "{store}/../out1"],
    ["pin", "{store}@3000", "--reason", HOSTILE],
    ["unpin", "{store}@3000"],
    ["prune", "{store}", "--keep-last", "1", "--keep-best", HOSTILE, "--dry-run"],
    ["gc", "{store}"],
    ["show", "{store}/absent" + HOSTILE],
    ["show", "{store}@best:" + HOSTILE],
    ["status", "--socket", "{store}/" + HOSTILE],
]


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "gpt"
    names = make_store(path, "--count", 3, "--elements", 10, "--named", HOSTILE)
    (path / names[0] / "bad").write_text(HOSTILE)
    (path / names[1] / "pinned").write_text(HOSTILE)
    return path


def assert_harmless(output, what):
    assert not [byte for byte in output if byte < 0x20 and byte != 0x0A or byte == 0x7F], f"{what}: {output!r}"
    text = output.decode("utf-8")
    assert not [letter for letter in text if "\x7f" <= letter <= "\x9f"], f"{what}: {output!r}"
    assert not [letter for letter in text if letter in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"], what


@pytest.mark.parametrize("arguments", RUNS, ids=lambda run: " ".join(run[:1] + run[2:3])[:20].encode("ascii", "ignore").decode())
def test_no_output_commands_the_terminal(store, arguments):
    for more in ([], ["--json"]):
        command = [program("stillframe"), *(word.replace("{store}", str(store)) for word in arguments), *more]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert done.stdout or done.stderr
        assert_harmless(done.stdout, command[1:])
        assert_harmless(done.stderr, command[1:])


def test_what_a_program_reads_is_the_name_itself(store):
    done = subprocess.run([program("stillframe"), "show", str(store), "--tensors", "--json"], capture_output=True, check=True)
    document = json.loads(done.stdout)
    assert HOSTILE in [entry["name"] for entry in document["ranks"][0]["entries"]] and HOSTILE in document["metrics"]
