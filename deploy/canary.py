"""Makes a built template shift traffic to a new version in steps: `make deploy CANARY=Canary10Percent5Minutes`.

Each connector gets an alias, which its event source mapping calls, and a CodeDeploy deployment that the connector's alarms
stop and roll back. This is not a parameter of template.yaml, because SAM publishes a version only if the text of a function
changes: with a plain alias, a changed parameter (a URL, an index) would have no effect until the code changes. Therefore
the version depends on a digest of the function's binary and of SETTINGS, the text that the parameters come from.

usage: canary.py TEMPLATE TYPE SETTINGS...    (rewrites TEMPLATE; SETTINGS are files, or the text itself)
"""

import hashlib
import os
import sys

from samcli.yamlhelper import yaml_dump, yaml_parse

TYPES = (
    "Canary10Percent5Minutes", "Canary10Percent10Minutes", "Canary10Percent15Minutes",
    "Canary10Percent30Minutes", "Linear10PercentEvery1Minute", "Linear10PercentEvery2Minutes",
    "Linear10PercentEvery3Minutes", "Linear10PercentEvery10Minutes",
)
# These alarms mean that the new version is worse than the old one, and not that the SIEM is down.
ALARMS = ("ErrorsAlarm", "DeliveryFailingAlarm", "HeldAlarm")


def connectors(template):
    """Returns the logical ids of the connectors: functions with a parameter that enables them."""
    return [name.removeprefix("Enable") for name in template["Parameters"]
            if name.startswith("Enable") and name.removeprefix("Enable") + "Function" in template["Resources"]]


def digest(parts):
    """Returns a SHA-256 over files, folders and texts, in the order given."""
    h = hashlib.sha256()
    for part in parts:
        if os.path.isdir(part):
            for folder, subfolders, names in os.walk(part):
                subfolders.sort()
                for name in sorted(names):
                    with open(os.path.join(folder, name), "rb") as f:
                        h.update(f.read())
        elif os.path.isfile(part):
            with open(part, "rb") as f:
                h.update(f.read())
        else:
            h.update(part.encode())
        h.update(b"\0")
    return h.hexdigest()


def add_canary(template, kind, base, settings):
    """Changes a parsed template in place. CodeUri is relative to the folder base."""
    if kind not in TYPES:
        raise SystemExit(f"CANARY: expected one of {', '.join(TYPES)}, found {kind!r}")
    for name in connectors(template):
        properties = template["Resources"][f"{name}Function"]["Properties"]
        code = os.path.join(base, str(properties.get("CodeUri", ".")))
        properties["AutoPublishAlias"] = "live"
        properties["AutoPublishAliasAllProperties"] = True
        properties["AutoPublishCodeSha256"] = digest([code if code != os.path.join(base, ".") else "", *settings])
        watched = {"Fn::If": ["AlarmsEnabled", [{"Fn::GetAtt": [f"{name}Alarms", f"Outputs.{a}Name"]} for a in ALARMS],
                              [{"Ref": "AWS::NoValue"}]]}
        properties["DeploymentPreference"] = {"Type": kind, "PassthroughCondition": True, "Alarms": watched}


def main():
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    path, kind, settings = sys.argv[1], sys.argv[2], sys.argv[3:]
    with open(path, encoding="utf-8") as f:
        template = yaml_parse(f.read())
    add_canary(template, kind, os.path.dirname(path), settings)
    with open(path, "w", encoding="utf-8") as f:
        f.write(yaml_dump(template))


if __name__ == "__main__":
    main()
