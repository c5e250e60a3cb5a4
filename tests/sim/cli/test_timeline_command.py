"""`bitloom simulate --timeline`, as users rely on it."""

import json
import subprocess
import sys
from pathlib import Path

SHAPES = ("--model", "tern-18m", "--prefill", 4, "--decode", 1)


def simulate(*arguments, code=0):
    command = [Path(sys.executable).parent / "bitloom", "simulate", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    return done


def test_the_timeline_has_every_operation_and_ends_with_the_run(tmp_path):
    out = tmp_path / "new" / "timeline.json"
    done = simulate("--machine", "lut-m2n64k4", *SHAPES, "--timeline", out, "--json")
    result, timeline = json.loads(done.stdout), json.loads(out.read_text(encoding="utf-8"))
    events = timeline["traceEvents"]
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    complete = [event for event in events if event["ph"] == "X"]
    operations = [event for event in complete if names[event["pid"], event["tid"]] == "operations"]
    assert any("self_attn.q_proj + self_attn.k_proj + self_attn.v_proj" in event["name"] for event in operations)
    assert {"load", "table", "array", "scale", "store"} <= set(names.values())
    last = max(event["ts"] + event["dur"] for event in operations)
    assert round(last, 3) == result["cycles"] / 1000  # microseconds at 1 GHz
    assert all(event["ts"] + event["dur"] <= last for event in complete)


def test_a_timeline_is_of_one_machine_and_of_events(tmp_path):
    out = tmp_path / "timeline.json"
    two = simulate("--machine", "lut-m2n64k4", "--machine", "int8-mac", *SHAPES, "--timeline", out, code=2)
    assert "--timeline" in two.stderr
    analytic = simulate("--machine", "int8-mac", *SHAPES, "--fidelity", "analytic", "--timeline", out, code=2)
    assert "one machine, event" in analytic.stderr
    assert not out.exists()
