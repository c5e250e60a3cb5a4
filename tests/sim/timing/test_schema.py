"""The JSON schema that editors check machine files by is the one that bitloom validates by."""

import json

from sim.timing.machine import Machine, shipped_machines


def test_the_committed_schema_is_the_models_own():
    folder = next(iter(shipped_machines().values())).parent
    committed = json.loads((folder / "machine.schema.json").read_text())
    assert committed == Machine.model_json_schema(), "write it anew: see CONTRIBUTING.md, Add a machine"


def test_every_shipped_machine_names_its_schema():
    for path in shipped_machines().values():
        assert path.read_text().startswith("#:schema ./machine.schema.json\n")
