"""Checks with SAM's own translator what CloudFormation gets from template.yaml: `make template` runs it.

Every connector alone, none and all can be translated. With a canary, each changed setting is a new version, and a disabled
connector leaves no deployment group behind.
"""

import json
import logging
import os

from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

from canary import add_canary, connectors

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.environ.setdefault("AWS_DEFAULT_REGION", "eu-west-1")


def read():
    with open(os.path.join(ROOT, "template.yaml"), encoding="utf-8") as f:
        return yaml_parse(f.read())


def translate(parameters, canary=None):
    """Returns the resources that CloudFormation gets for these parameters."""
    template = read()
    if canary:
        add_canary(template, canary, ROOT, [json.dumps(parameters, sort_keys=True)])
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = {"Bucket": "code", "Key": "function.zip"}
        if resource["Type"] == "AWS::CloudFormation::Stack":
            resource["Properties"]["TemplateURL"] = "https://s3.amazonaws.com/code/alarms.yaml"
    template["Globals"]["Function"].pop("CodeUri")
    return Translator({}, Parser()).translate(sam_template=template, parameter_values=parameters)["Resources"]


def expect(condition, message):
    if not condition:
        raise SystemExit(f"deploy/canary_test.py: {message}")


def check_translation(names):
    for parameters in ({}, *({f"Enable{n}": "true"} for n in names), {f"Enable{n}": "true" for n in names}):
        resources = translate(parameters)
        for name in names:
            mapping = resources[f"{name}FunctionQueue"]
            expect(mapping["Condition"] == f"{name}Enabled", f"the event source mapping of {name} does not depend on Enable{name}")


def check_canary(names):
    def version(**more):
        resources = translate({"EnableSplunk": "true", **more}, "Canary10Percent5Minutes")
        return [i for i in resources if i.startswith("SplunkFunctionVersion")], resources

    (before,), resources = version()
    (after,), _ = version(SplunkHecIndex="other")
    (again,), _ = version()
    expect(before == again and before != after, "a changed setting does not publish a new version")
    for name in names:
        group = resources[f"{name}FunctionDeploymentGroup"]
        expect(group["Condition"] == f"{name}Enabled", f"{name} leaves a deployment group behind when it is disabled")
        expect("Alarms" in json.dumps(group["Properties"]["AlarmConfiguration"]), f"{name} has no alarm that stops a deployment")
        mapping = resources[f"{name}FunctionQueue"]["Properties"]["FunctionName"]
        expect(mapping == {"Ref": f"{name}FunctionAliaslive"}, f"the mapping of {name} does not use the alias")


def main():
    logging.disable(logging.WARNING)
    names = connectors(read())
    expect(len(names) > 1, "no connectors found in template.yaml")
    check_translation(names)
    check_canary(names)
    print(f"translated template.yaml for {', '.join(names)}, and with a canary")


if __name__ == "__main__":
    main()
