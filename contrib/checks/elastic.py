"""Checks contrib/elastic: EQL with Elastic's engine, and the pipeline's ECS fields with Elastic's list of fields."""

import importlib.metadata
import json
import pathlib
import re
import sys

import eql

FOLDER = pathlib.Path(__file__).parent.parent / "elastic"
# The fields of the pack that are not ECS: OCSF's own, and those for which ECS has none.
OWN = {"arbitex", "activity_id", "activity_name", "actor", "ai_model", "api", "class_uid", "entity", "message_context",
       "metadata", "severity_id", "src_endpoint", "status_id", "time", "unmapped"}


def leaves(mapping, prefix=""):
    """Yields the fields of a mapping with their types."""
    for name, field in mapping.get("properties", {}).items():
        if "properties" in field:
            yield from leaves(field, f"{prefix}{name}.")
        else:
            yield prefix + name, field["type"]


def alerts(query, *steps):
    """Returns how often the query fires on events of (minute, user, policy action)."""
    fired = []
    engine = eql.PythonEngine()
    engine.add_query(eql.parse_query(query))
    engine.add_output_hook(fired.append)
    engine.stream_events([
        eql.Event("generic", minute * 600_000_000, {  # in 100 ns
            "event_type": "generic", "class_uid": 6003, "user": {"id": user}, "arbitex": {"policy_action": action}})
        for minute, user, action in steps
    ])
    return len(fired)


def bypass_problems(name, query):
    """Yields where the sequence fires although it must not, or does not fire although it must."""
    stops = [(0, "a", "block"), (1, "a", "redact"), (2, "a", "block")]
    for expected, steps in (
            (1, [*stops, (3, "a", "allow")]),
            (0, [*stops[:2], (3, "a", "allow")]),
            (0, [*stops, (3, "b", "allow")]),
            (0, [*stops, (20, "a", "allow")]),
            (0, [(0, "a", "allow"), (1, "a", "block"), (2, "a", "block"), (3, "a", "block")])):
        fired = alerts(query, *steps)
        if fired != expected:
            yield f"{name}: fires {fired} times, want {expected}, on {steps}"


def ecs_types(modules):
    """Returns the types of all ECS fields, of the package's list of flat fields."""
    text = (modules / "@elastic/ecs/generated/ecs_flat.ts").read_text()
    return dict(re.findall(r"^\s+'?([@a-z_.0-9]+)'?: \{.*?\btype: '(\w+)'", text, re.MULTILINE | re.DOTALL))


def main():
    """Prints the problems and exits with 1 if there are any. The argument is the folder node_modules."""
    modules = pathlib.Path(sys.argv[1])
    found, queries = [], 0
    for line in (FOLDER / "detection-rules.ndjson").read_text().splitlines():
        rule = json.loads(line)
        if rule.get("language") == "eql":
            queries += 1
            try:
                found += bypass_problems(rule["name"], rule["query"])
            except eql.EqlError as error:
                found.append(f"{rule['name']}: {error}")
    known = ecs_types(modules)
    template = json.loads((FOLDER / "index-template.json").read_text())
    checked = 0
    for name, kind in leaves(template["template"]["mappings"]):
        if name.split(".")[0] in OWN:
            continue
        checked += 1
        if name not in known:
            found.append(f"{name}: not a field of ECS")
        elif known[name] != kind and {known[name], kind} not in ({"integer", "long"}, {"match_only_text", "text"}):
            found.append(f"{name}: {kind}, and ECS has {known[name]}")
    version = json.loads((modules / "@elastic/ecs/package.json").read_text())["version"]
    print("\n".join([*found, f"elastic: {queries} EQL queries, {checked} ECS fields, {len(found)} problems, "
                     f"eql {importlib.metadata.version('eql')}, @elastic/ecs {version}"]))
    sys.exit(1 if found or not queries or checked < 10 else 0)


main()
