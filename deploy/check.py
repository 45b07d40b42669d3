"""Deploys template.yaml into moto's CloudFormation, after the transforms of SAM CLI, and checks the result.

With --expanded it prints the expanded template with all optional parts instead; with --cloudformation and a JSON object
of parameters, what CloudFormation creates for them. A further argument - reads the template with its loops expanded.

Needs neither AWS nor a network; runs in the venv of `make template`. It deploys each connector alone, all, none of the
optional parts, and one in a VPC. It checks that every resource that moto supports is created and nothing else, that a
changed parameter reaches the function, and that a canary creates a version for each change. Resource types that moto
does not support are printed at the end. moto does not roll back: test/products/ministack covers failed deployments.
"""

import copy
import io
import json
import logging
import os
import re
import sys
import zipfile

os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="eu-west-1")

import boto3  # noqa: E402
from moto import mock_aws  # noqa: E402
from moto.awslambda.models import lambda_backends  # noqa: E402
from moto.cloudformation.parsing import resource_class_from_type  # noqa: E402
from samcli.lib.cfn_language_extensions.sam_integration import expand_language_extensions  # noqa: E402
from samcli.yamlhelper import yaml_parse  # noqa: E402
from samtranslator.parser.parser import Parser  # noqa: E402
from samtranslator.translator.translator import Translator  # noqa: E402

from canary import add_canary  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STACK = "arbitex-siem"
ACCOUNT = "123456789012"  # moto's
REGION = "eu-west-1"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
NOTHING = {"Ref": "AWS::NoValue"}


def load():
    with open(os.path.join(ROOT, "template.yaml"), encoding="utf-8") as f:
        return yaml_parse(f.read())


CONNECTORS = load()["Parameters"]["Connectors"]["AllowedValues"]


def translate(parameters, canary=None, expanded=None):
    """Returns what CloudFormation creates if the template is deployed with these parameters."""
    values = {k: p["Default"] for k, p in load()["Parameters"].items()} | parameters
    expanded = expanded or expand(parameters, canary)
    for resource in expanded["Resources"].values():
        code = str(resource.get("Properties", {}).get("CodeUri"))
        if resource["Type"] == "AWS::Serverless::Function" and "s3://" not in code and "Bucket" not in code:
            resource["Properties"]["CodeUri"] = {"Bucket": "code", "Key": "function.zip"}
    expanded["Transform"] = "AWS::Serverless-2016-10-31"
    return Translator({}, Parser()).translate(sam_template=expanded, parameter_values=values)


def expand(parameters, canary=None):
    """Returns the template with its loops expanded."""
    template = load()
    if canary:
        add_canary(template, canary, ROOT, [json.dumps(parameters, sort_keys=True)])
    values = {k: p["Default"] for k, p in template["Parameters"].items()} | parameters
    for name, resource in template["Resources"].items():
        if not name.startswith("Fn::ForEach::"):
            template["Resources"][name] = expand_properties(resource, values)
    pseudo = {"AWS::Region": REGION, "AWS::AccountId": ACCOUNT, "AWS::StackName": STACK, "AWS::Partition": "aws",
              "AWS::URLSuffix": "amazonaws.com"}
    expanded = expand_language_extensions(copy.deepcopy(template), {**values, **pseudo}, enabled=True).expanded_template
    names = set(expanded["Resources"]) | {n + event for n, r in expanded["Resources"].items()
                                          for event in r["Properties"].get("Events", {})}
    return restore_subs(expanded, names)


def expand_properties(node, values):
    """Expands loops inside properties, which CloudFormation does and SAM CLI leaves to it."""
    if isinstance(node, list):
        return [expand_properties(n, values) for n in node]
    if not isinstance(node, dict):
        return node
    out = {}
    for key, value in node.items():
        if not key.startswith("Fn::ForEach::"):
            out[key] = expand_properties(value, values)
            continue
        identifier, collection, fragment = value
        for item in values[collection["Ref"]].split(","):
            text = json.dumps(fragment).replace("${" + identifier + "}", item)
            for name, entry in json.loads(text).items():
                out[name] = plain(entry)
    return out


def plain(node):
    """Replaces Fn::Sub of a text without variables by the text."""
    if isinstance(node, dict):
        if set(node) == {"Fn::Sub"} and isinstance(node["Fn::Sub"], str) and "${" not in node["Fn::Sub"]:
            return node["Fn::Sub"]
        return {k: plain(v) for k, v in node.items()}
    return [plain(n) for n in node] if isinstance(node, list) else node


def restore_subs(node, resources):
    """Puts Fn::Sub back around texts that name a resource: SAM CLI drops it once it has replaced the parameters, and
    writes a Ref among the variables of Fn::Sub as Python does."""
    if isinstance(node, str):
        node = re.sub(r"\{'Ref': '(\w+)'\}", r"${\1}", node)
        return {"Fn::Sub": node} if resources & set(re.findall(r"\$\{(\w+)[.}]", node)) else node
    if isinstance(node, list):
        return [restore_subs(n, resources) for n in node]
    if isinstance(node, dict):
        return {k: v if k == "Fn::Sub" else restore_subs(v, resources) for k, v in node.items()}
    return node


def deploy(translated, parameters):
    """Creates or updates the stack. Returns its resources: logical id to physical id."""
    cloudformation = boto3.client("cloudformation")
    conditions = conditions_of(translated, parameters)
    outputs = {k: v for k, v in translated["Outputs"].items()
               if conditions.get(v.get("Condition"), True) and not dead(translated, v)}
    translated = {**translated, "Outputs": outputs, "Resources": settle(translated["Resources"], conditions)}
    arguments = {
        "StackName": STACK, "TemplateBody": json.dumps(translated), "Capabilities": ["CAPABILITY_IAM"],
        "Parameters": [{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
    }
    existing = [s["StackName"] for s in cloudformation.describe_stacks()["Stacks"]]
    (cloudformation.update_stack if STACK in existing else cloudformation.create_stack)(**arguments)
    stack = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
    expect(stack["StackStatus"].endswith("_COMPLETE") and "ROLLBACK" not in stack["StackStatus"], stack["StackStatus"])
    resources = {}
    for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=STACK):
        for r in page["StackResourceSummaries"]:
            resources[r["LogicalResourceId"]] = r["PhysicalResourceId"]
    return resources


def settle(node, conditions):
    """Takes the branch of each Fn::If and drops AWS::NoValue, which moto turns into null in a list."""
    if isinstance(node, list):
        return [item for item in (settle(n, conditions) for n in node) if item != NOTHING]
    if not isinstance(node, dict):
        return node
    if set(node) == {"Fn::If"}:
        condition, then, otherwise = node["Fn::If"]
        return settle(then if conditions[condition] else otherwise, conditions)
    settled = {k: settle(v, conditions) for k, v in node.items()}
    return {k: v for k, v in settled.items() if v != NOTHING}


def conditions_of(translated, parameters):
    """Evaluates the conditions of the template."""
    values = {k: p.get("Default") for k, p in translated["Parameters"].items()} | parameters

    def text(v):
        if not isinstance(v, dict):
            return str(v)
        (function, argument), = v.items()
        if function == "Ref":
            return str(values[argument])
        separator, source = argument
        if function == "Fn::Join":
            return separator.join(parts(source))
        raise SystemExit(f"conditions: {function} is not supported")

    def parts(v):
        if isinstance(v, dict) and "Fn::Split" in v:
            return text(v["Fn::Split"][1]).split(text(v["Fn::Split"][0]))
        return text(v).split(",") if isinstance(v, dict) else [text(x) for x in v]

    def holds(c):
        (function, argument), = c.items()
        if function == "Condition":
            return holds(translated["Conditions"][argument])
        if function == "Fn::Equals":
            return text(argument[0]) == text(argument[1])
        return {"Fn::Not": lambda: not holds(argument[0]), "Fn::And": lambda: all(map(holds, argument)),
                "Fn::Or": lambda: any(map(holds, argument))}[function]()

    return {name: holds(c) for name, c in translated["Conditions"].items()}


def dead(translated, output):
    """Reports whether an output needs an attribute of a resource that moto does not support."""
    name = output["Value"].get("Fn::GetAtt", [None])[0] if isinstance(output["Value"], dict) else None
    return name and not supported(translated["Resources"][name]["Type"])


def expect(condition, message):
    if not condition:
        raise SystemExit(f"deploying into moto: {message}")


def supported(kind):
    return resource_class_from_type(kind) is not None


def compare(what, translated, parameters, resources):
    """Every supported resource whose condition holds is created, and no other."""
    conditions = conditions_of(translated, parameters)
    want = {i for i, r in translated["Resources"].items()
            if supported(r["Type"]) and conditions.get(r.get("Condition"), True)}
    have = {i for i in resources if i in translated["Resources"] and supported(translated["Resources"][i]["Type"])}
    expect(have == want, f"{what}: not created: {sorted(want - have)}; created in excess: {sorted(have - want)}")
    return want


def check(what, **parameters):
    translated = translate(parameters)
    resources = deploy(translated, parameters)
    created = compare(what, translated, parameters, resources)
    check_dashboard(what, translated, parameters, resources)
    for name in parameters["Connectors"].split(","):
        check_mapping(name, resources[f"{name}Queue"])
    return created


def check_dashboard(what, translated, parameters, resources):
    """The dashboard is valid JSON, shows the state of each alarm, and its searches find queues and functions."""
    conditions = conditions_of(translated, parameters)
    if not conditions["DashboardEnabled"]:
        return
    text = boto3.client("cloudwatch").get_dashboard(DashboardName=f"{STACK}-{REGION}")["DashboardBody"]
    widgets = json.loads(text)["widgets"]
    expect(len(widgets) == 11 and "${PROP" in text and "${AWS" not in text, f"{what}: dashboard: {text[:300]}")
    shown = sorted(arn.rsplit(":", 1)[1] for arn in widgets[1]["properties"]["alarms"])
    alarms = sorted(r["Properties"]["AlarmName"] for r in translated["Resources"].values()
                    if r["Type"] == "AWS::CloudWatch::Alarm" and conditions.get(r.get("Condition"), True))
    expect(shown == alarms, f"{what}: the dashboard shows the alarms {shown}, not {alarms}")
    terms = re.findall(r"} (?:QueueName|FunctionName)=(\S+)", str(widgets))
    names = [name.rsplit("/", 1)[-1] for name in resources.values()]
    for term in terms:  # CloudWatch compares a term in double quotes with the whole name
        found = [name for name in names if (name == term.strip('"') if '"' in term else name.startswith(term + "-"))]
        expect(found, f"{what}: no queue and no function is found by {term}")
    expect(len(terms) == 2, f"{what}: {terms}")


def check_mapping(name, url):
    """One mapping of 100 messages on the connector's queue, and a redrive after five receives."""
    attributes = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    policy, retention = attributes["RedrivePolicy"], attributes["MessageRetentionPeriod"]
    expect(json.loads(policy)["maxReceiveCount"] in (5, "5"), f"{name}: {policy}")
    expect(retention == "1209600", f"{name}: retention {retention}")
    # Through the model: over HTTP moto does not find a mapping under the path that boto3 uses.
    mappings = lambda_backends[ACCOUNT][REGION].list_event_source_mappings(attributes["QueueArn"], "")
    expect(len(mappings) == 1 and int(mappings[0].batch_size) == 100,
           f"{name}: want one mapping of 100, have {mappings}")


def check_alone(name):
    created = check(name, Connectors=name)
    others = {i for i in created if any(i.startswith(n) for n in CONNECTORS if n != name)}
    expect(not others, f"{name}: creates {sorted(others)}")


def check_minimal():
    created = check("without the optional parts", Connectors="sumo", EnableAlarms="false", EnableDashboard="false",
                    EnableGuard="false", EnableReplayUrl="false")
    optional = {i for i in created if "Guard" in i or "Alarm" in i or i == "Dashboard"}
    expect(not optional, f"without the optional parts: creates {sorted(optional)}")


def check_everything():
    check("all connectors", Connectors=",".join(CONNECTORS), EnableTopic="true", KmsKeyArn=KEY,
          ReplayedRetentionDays="90", AlarmTopicArn="arn:aws:sns:eu-west-1:123456789012:alarms",
          SentinelFederated="true")
    url, = boto3.client("sqs").list_queues(QueueNamePrefix=f"{STACK}-splunkQueue-")["QueueUrls"]
    attributes = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    expect(attributes.get("KmsMasterKeyId") == KEY, f"splunkQueue: {attributes}")


def check_vpc():
    ec2 = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="g", Description="d", VpcId=vpc)["GroupId"]
    parameters = {"Connectors": "qradar,splunk", "ConnectorsInVpc": "qradar", "VpcSubnetIds": subnet,
                  "VpcSecurityGroupIds": group, "CreateVpcEndpoints": "true", "VpcId": vpc, "VpcCidr": "10.0.0.0/16"}
    created = check("QRadar in a VPC", **parameters)
    expect({"VpcAccessPolicy", "VpcEndpointSecurityGroup", "sqsEndpoint", "secretsmanagerEndpoint"} <= created,
           f"VPC: {sorted(created)}")
    functions = settle(translate(parameters)["Resources"], conditions_of(translate(parameters), parameters))
    have = [functions[f"{n}Function"]["Properties"]["VpcConfig"] for n in ("qradar", "splunk")]
    want = [{"SubnetIds": [subnet], "SecurityGroupIds": [group]}, {"SubnetIds": [], "SecurityGroupIds": []}]
    expect(have == want, f"VPC: {have}, want {want}")


def check_update():
    """A changed parameter reaches the function, and a connector can be added and removed."""
    for concurrency, level in (("5,5,5,5,5,5,5", "info"), ("9,5,5,5,5,5,5", "debug")):
        check("update", Connectors="splunk", MaximumConcurrency=concurrency, LogLevel=level)
        functions = [f for f in lambda_backends[ACCOUNT][REGION].list_functions()
                     if "splunkFunction" in f.function_name]
        have = [f.environment_vars.get("LOG_LEVEL") for f in functions]
        expect(have == [level], f"LogLevel: want {level}, the function has {have}")
    check("a second connector", Connectors="splunk,sumo")
    check("the first one again", Connectors="splunk")


def check_canary():
    """Every change of settings creates a version, and the mapping invokes the alias."""
    def version(**more):
        resources = translate({"Connectors": "splunk,sumo", **more}, "Canary10Percent5Minutes")["Resources"]
        return [i for i in resources if i.startswith("splunkFunctionVersion")], resources

    (before,), resources = version()
    (after,), _ = version(LogLevel="debug")
    (again,), _ = version()
    expect(before == again and before != after, "canary: a changed setting creates no version")
    for name in ("splunk", "sumo"):
        group = resources[f"{name}FunctionDeploymentGroup"]
        expect("Alarms" in json.dumps(group["Properties"]["AlarmConfiguration"]), f"canary: {name} has no alarm")
        mapping = resources[f"{name}FunctionQueue"]["Properties"]["FunctionName"]
        expect(mapping == {"Ref": f"{name}FunctionAliaslive"}, f"canary: {name}'s mapping does not use the alias")


def prepare():
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket="code")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("bootstrap", "not run here")
    s3.put_object(Bucket="code", Key="function.zip", Body=archive.getvalue())


def everything():
    """Returns the expanded template with all optional parts, for scanners that evaluate no loops and conditions."""
    parameters = {"Connectors": ",".join(CONNECTORS), "EnableTopic": "true", "KmsKeyArn": KEY,
                  "ReplayedRetentionDays": "90", "SentinelFederated": "true", "CreateVpcEndpoints": "true",
                  "VpcSubnetIds": "subnet-1", "ConnectorsInVpc": "splunk"}
    expanded = expand(parameters)
    conditions = conditions_of(expanded, parameters)
    for name in [n for n, r in expanded["Resources"].items() if not conditions.get(r.get("Condition"), True)]:
        del expanded["Resources"][name]
    return {**expanded, "Resources": settle(expanded["Resources"], conditions)}


def main():
    if sys.argv[1:] == ["--expanded"]:
        print(json.dumps(everything(), indent=1, default=str))
        return
    if sys.argv[1:2] == ["--cloudformation"]:
        expanded = json.load(sys.stdin) if sys.argv[3:] == ["-"] else None
        print(json.dumps(translate(json.loads(sys.argv[2]), expanded=expanded), default=str))
        return
    logging.disable(logging.WARNING)  # moto logs each unsupported resource every time
    checks = [*[lambda n=n: check_alone(n) for n in CONNECTORS],
              check_minimal, check_everything, check_vpc, check_update]
    for run in checks:
        with mock_aws(config={"lambda": {"use_docker": False}}):
            prepare()
            run()
    check_canary()
    kinds = {r["Type"] for r in translate({}, "Canary10Percent5Minutes")["Resources"].values()}
    print(f"deployed into moto {len(checks)} times; not supported by moto: "
          f"{', '.join(sorted(k for k in kinds if not supported(k)))}")


if __name__ == "__main__":
    sys.exit(main())
