"""Checks the packs with the vendors' tools: python3 contrib/check.py FOLDER

The app for Splunk with splunk-appinspect, as Splunkbase and Splunk Cloud do; EQL with Elastic's engine, and the
pipeline's ECS fields with Elastic's list of fields; types, keys and allowed values for Datadog with the models of
Datadog's API client. FOLDER has node/node_modules, and receives the reports of splunk-appinspect.
"""

import importlib.metadata
import json
import pathlib
import re
import subprocess
import sys

import eql
from datadog_api_client.configuration import Configuration
from datadog_api_client.exceptions import ApiTypeError, ApiValueError
from datadog_api_client.model_utils import ModelNormal, UnparsedObject, validate_and_convert_types
from datadog_api_client.v1.model.dashboard import Dashboard
from datadog_api_client.v1.model.logs_pipeline import LogsPipeline
from datadog_api_client.v1.model.monitor import Monitor
from datadog_api_client.v2.model.security_monitoring_standard_rule_create_payload import (
    SecurityMonitoringStandardRuleCreatePayload,
)

CONTRIB = pathlib.Path(__file__).parent
# The fields of contrib/elastic that are not ECS: OCSF's own, and those for which ECS has none.
OWN = {"arbitex", "activity_id", "activity_name", "actor", "ai_model", "api", "class_uid", "entity", "message_context",
       "metadata", "severity_id", "src_endpoint", "status_id", "time", "unmapped"}
DATADOG = {
    "pipeline.json": (LogsPipeline, False),
    "dashboard.json": (Dashboard, False),
    "monitors.json": (Monitor, True),
    "security-rules.json": (SecurityMonitoringStandardRuleCreatePayload, True),
}


def splunk(build):
    """Yields the problems of the app, for Splunkbase and for Splunk Cloud."""
    for old in build.glob("appinspect-*.json"):
        old.unlink()
    for label, arguments in ("precert", []), ("cloud", ["--included-tags", "cloud"]):
        report = build / f"appinspect-{label}.json"
        command = [pathlib.Path(sys.executable).parent / "splunk-appinspect", "inspect",
                   CONTRIB / "splunk" / "arbitex_audit", "--mode", "precert", "--data-format", "json",
                   "--output-file", report, *arguments]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if not report.exists():
            yield "splunk-appinspect wrote no report; it needs libmagic (Debian: libmagic1)"
            continue
        result = json.loads(report.read_text())
        for group in result["reports"][0]["groups"]:
            for check in group["checks"]:
                if check["result"] in ("failure", "future_failure", "error", "warning"):
                    yield f"{check['result']}: {check['name']}: {[m['message'] for m in check['messages']]}"
        print(f"splunk: {label}: {json.dumps(result['summary'])}")


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


def elastic(build):
    """Yields the problems of the EQL queries and of the template's fields."""
    modules, queries, checked = build / "node/node_modules", 0, 0
    for line in (CONTRIB / "elastic/detection-rules.ndjson").read_text().splitlines():
        rule = json.loads(line)
        if rule.get("language") == "eql":
            queries += 1
            try:
                yield from bypass_problems(rule["name"], rule["query"])
            except eql.EqlError as error:
                yield f"{rule['name']}: {error}"
    known = ecs_types(modules)
    template = json.loads((CONTRIB / "elastic/index-template.json").read_text())
    for name, kind in leaves(template["template"]["mappings"]):
        if name.split(".")[0] in OWN:
            continue
        checked += 1
        if name not in known:
            yield f"{name}: not a field of ECS"
        elif known[name] != kind and {known[name], kind} not in ({"integer", "long"}, {"match_only_text", "text"}):
            yield f"{name}: {kind}, and ECS has {known[name]}"
    if not queries or checked < 10:
        yield "too few queries or fields"
    version = json.loads((modules / "@elastic/ecs/package.json").read_text())["version"]
    print(f"elastic: {queries} EQL queries, {checked} ECS fields, @elastic/ecs {version}")


def unknown(value, path):
    """Yields the places where Datadog's client found no model, or a key that the model does not have."""
    if isinstance(value, UnparsedObject):
        yield f"{path}: no model fits"
    elif isinstance(value, ModelNormal):
        if getattr(value, "_unparsed", False):
            yield f"{path}: a value that {type(value).__name__} does not allow"
        for key, child in value._data_store.items():
            if key not in value.openapi_types and key != "_data_store":
                yield f"{path}.{key}: {type(value).__name__} has no such key"
            yield from unknown(child, f"{path}.{key}")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from unknown(child, f"{path}[{index}]")
    elif getattr(value, "_unparsed", False):
        yield f"{path}: a value that {type(value).__name__} does not allow"


def datadog(_build):
    """Yields the problems of all files."""
    count = 0
    for name, (model, many) in DATADOG.items():
        data = json.loads((CONTRIB / "datadog" / name).read_text())
        for index, one in enumerate(data if many else [data]):
            count += 1
            what = f"{name}[{index}]" if many else name
            try:
                parsed = validate_and_convert_types(one, (model,), [what], True, True, Configuration())
            except (ApiTypeError, ApiValueError, TypeError) as error:
                yield f"{what}: {error}"
                continue
            yield from unknown(parsed, what)
    print(f"datadog: {count} objects")


def main():
    """Prints the problems of all packs and exits with 1 if there are any."""
    problems = 0
    for check, tool in (splunk, "splunk-appinspect"), (elastic, "eql"), (datadog, "datadog-api-client"):
        found = list(check(pathlib.Path(sys.argv[1])))
        problems += len(found)
        print("\n".join([*(f"{check.__name__}: {p}" for p in found),
                         f"{check.__name__}: {len(found)} problems, {tool} {importlib.metadata.version(tool)}"]))
    sys.exit(1 if problems else 0)


main()
