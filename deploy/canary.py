"""Changes a built template so that a deployment shifts traffic to the new version step by step.

    make deploy CANARY=Canary10Percent5Minutes

Each connector gets an alias, which its event source mapping invokes, and a CodeDeploy deployment that the connector's
errors alarm rolls back. This is not a stack parameter, because SAM creates a new version only if the function's text
changes. The digest of the binaries and of SETTINGS makes every deployment a new version.

usage: canary.py TEMPLATE TYPE SETTINGS...    (rewrites TEMPLATE; SETTINGS are files or texts)
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


def digest(parts):
    """A SHA-256 over files, folders and texts, in the order given."""
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
    """Changes a parsed template in place. base is the folder that its CodeUri values are relative to."""
    if kind not in TYPES:
        raise SystemExit(f"CANARY: expected one of {', '.join(TYPES)}, found {kind!r}")
    connector = template["Resources"]["Fn::ForEach::Connector"][2]["${C}Function"]["Properties"]
    connector["AutoPublishAlias"] = "live"
    connector["AutoPublishAliasAllProperties"] = True
    connector["AutoPublishCodeSha256"] = digest([base, *settings])
    # Rolls back on errors of the new version; a SIEM that is down does not cause them.
    connector["DeploymentPreference"] = {
        "Type": kind,
        "Alarms": {"Fn::If": ["AlarmsEnabled", [{"Ref": {"Fn::Sub": "${C}ErrorsAlarm"}}], {"Ref": "AWS::NoValue"}]},
    }


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
