"""Deploys template.yaml into moto's CloudFormation, after SAM's own translator, and looks at what came out of it.

It runs without AWS and without the network, in the venv of `make template`. It shows that references, conditions and
order are such that a stack can be made: for each connector alone, for all, and for none; that what is optional comes only
when it is asked for; that a change of parameters changes what it should; and that a canary makes a version of each
change. Types that moto does not make are named at the end; it passes over them.
"""

import io
import json
import logging
import os
import sys
import zipfile

os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="eu-west-1")

import boto3  # noqa: E402
from moto import mock_aws  # noqa: E402
from moto.awslambda.models import lambda_backends  # noqa: E402
from moto.cloudformation.parsing import resource_class_from_type  # noqa: E402
from samcli.yamlhelper import yaml_parse  # noqa: E402
from samtranslator.parser.parser import Parser  # noqa: E402
from samtranslator.translator.translator import Translator  # noqa: E402

from canary import CONNECTORS, add_canary  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STACK = "arbitex-siem"
ACCOUNT = "123456789012"  # moto's
KEY = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
SHARED = {"DeadLetterQueue", "DeadLetterQueuePolicy", "DeadLetterBucket", "DeadLetterBucketPolicy", "DeadLetterLogGroup",
          "DeadLetterRole", "DeadLetterFunction", "DeadLetterFunctionQueue", "ReplayLogGroup", "ReplayRole", "ReplayFunction",
          "ReplayFunctionUrl", "ReplayCallerPolicy"}
WATCHING = {"DrainStuckAlarm", "DrainErrorsAlarm", "UnknownConnectorAlarm", "ReplayErrorsAlarm"}
PARTS = ("Queue", "QueuePolicy", "Secret", "LogGroup", "Role", "Function", "FunctionQueue")


def enable(*names, **more):
    return {**{f"Enable{n}": "true" for n in names}, **more}


def translate(parameters, canary=None):
    """What CloudFormation gets when the template is deployed with these parameters."""
    with open(os.path.join(ROOT, "template.yaml"), encoding="utf-8") as f:
        template = yaml_parse(f.read())
    if canary:
        add_canary(template, canary, ROOT, [json.dumps(parameters, sort_keys=True)])
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = {"Bucket": "code", "Key": "function.zip"}
        if resource["Type"] == "AWS::CloudFormation::Stack":
            resource["Properties"]["TemplateURL"] = "https://s3.amazonaws.com/code/alarms.yaml"
    template["Globals"]["Function"].pop("CodeUri")
    return Translator({}, Parser()).translate(sam_template=template, parameter_values=parameters)


def deploy(translated, parameters):
    """Makes or updates the stack, and gives its resources: logical id to physical id."""
    cloudformation = boto3.client("cloudformation")
    translated = without_dead_outputs(translated)
    translated = {**translated, "Resources": settle(translated["Resources"], conditions_of(translated, parameters))}
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


NOTHING = {"Ref": "AWS::NoValue"}


def settle(node, conditions):
    """Takes each Fn::If's branch and drops AWS::NoValue: moto leaves a null where one stands in a list."""
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
    """What each condition of the template comes to."""
    values = {k: str(p.get("Default")) for k, p in translated["Parameters"].items()} | parameters

    def holds(c):
        (function, argument), = c.items()
        if function == "Condition":
            return holds(translated["Conditions"][argument])
        if function == "Fn::Equals":
            return len({values[a["Ref"]] if isinstance(a, dict) else str(a) for a in argument}) == 1
        return {"Fn::Not": lambda: not holds(argument[0]), "Fn::And": lambda: all(map(holds, argument)),
                "Fn::Or": lambda: any(map(holds, argument))}[function]()

    return {name: holds(c) for name, c in translated["Conditions"].items()}


def without_dead_outputs(translated):
    """moto stops at an output that asks for an attribute of a resource that it does not make."""
    def dead(output):
        name = output["Value"].get("Fn::GetAtt", [None])[0] if isinstance(output["Value"], dict) else None
        return name and not supported(translated["Resources"][name]["Type"])

    return {**translated, "Outputs": {k: v for k, v in translated["Outputs"].items() if not dead(v)}}


def expect(condition, message):
    if not condition:
        raise SystemExit(f"deploying into moto: {message}")


def made(translated, resources):
    """Logical ids that moto has made, of the types that it makes."""
    return {i for i in resources if i in translated["Resources"] and supported(translated["Resources"][i]["Type"])}


def supported(kind):
    return resource_class_from_type(kind) is not None


def wanted(translated, ids):
    return {i for i in ids if supported(translated["Resources"][i]["Type"])}


def compare(what, translated, resources, ids):
    have, want = made(translated, resources), wanted(translated, ids)
    expect(have == want, f"{what}: not made: {sorted(want - have)}; made in excess: {sorted(have - want)}")


def check_none():
    parameters = {}
    translated = translate(parameters)
    compare("no connector", translated, deploy(translated, parameters), SHARED | WATCHING)


def check_alone(name):
    parameters = enable(name)
    translated = translate(parameters)
    ids = SHARED | WATCHING | {f"{name}{p}" for p in PARTS} | {f"{name}Alarms", "EnqueuePolicy", "Dashboard"}
    resources = deploy(translated, parameters)
    compare(name, translated, resources, ids)
    check_mapping(name)
    check_dashboard([name])


def check_mapping(name):
    """One mapping on the connector's queue, as the function's code relies on."""
    url = boto3.client("sqs").get_queue_url(QueueName=f"{STACK}-{name.lower()}")["QueueUrl"]
    attributes = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    expect(json.loads(attributes["RedrivePolicy"])["maxReceiveCount"] in (5, "5"), f"{name}: {attributes['RedrivePolicy']}")
    # By its model: over HTTP moto does not find a mapping under the path that boto3 asks for.
    mappings = lambda_backends[ACCOUNT]["eu-west-1"].list_event_source_mappings(attributes["QueueArn"], "")
    expect(len(mappings) == 1 and int(mappings[0].batch_size) == 100, f"{name}: want one mapping of 100, have {mappings}")


def check_dashboard(names):
    """The body is JSON once CloudFormation has filled it in, and draws what is deployed only."""
    cloudwatch = boto3.client("cloudwatch")
    body = json.loads(cloudwatch.get_dashboard(DashboardName=f"{STACK}-eu-west-1")["DashboardBody"])
    text = json.dumps(body)
    expect("${PROP" in text and "${AWS" not in text, "dashboard: a placeholder is left over, or one too many is gone")
    costs = [w for w in body["widgets"] if w["properties"].get("title", "").startswith("Cost")][0]
    lines = {m[0]["label"] for m in costs["properties"]["metrics"] if len(m) == 1}
    expect(lines == {n.lower() for n in names}, f"dashboard: costs of {lines}")


def check_everything():
    parameters = enable(*CONNECTORS, EnableTopic="true", KmsKeyArn=KEY, ReplayedRetentionDays="90",
                        AlarmTopicArn="arn:aws:sns:eu-west-1:123456789012:alarms")
    translated = translate(parameters)
    ids = SHARED | WATCHING | {f"{n}{p}" for n in CONNECTORS for p in (*PARTS, "Alarms", "Subscription")}
    ids |= {"EnqueuePolicy", "EventTopic", "EventTopicPolicy", "Dashboard"}
    resources = deploy(translated, parameters)
    compare("all connectors", translated, resources, ids)
    for name in CONNECTORS:
        check_mapping(name)
    check_dashboard(CONNECTORS)
    attributes = boto3.client("sqs").get_queue_attributes(QueueUrl=resources["SplunkQueue"], AttributeNames=["All"])["Attributes"]
    expect(attributes.get("KmsMasterKeyId") == KEY, f"SplunkQueue: {attributes}")


def check_vpc():
    ec2 = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="g", Description="d", VpcId=vpc)["GroupId"]
    parameters = enable("QRadar", QRadarInVpc="true", VpcSubnetIds=subnet, VpcSecurityGroupIds=group, CreateVpcEndpoints="true",
                        VpcId=vpc, VpcCidr="10.0.0.0/16")
    translated = translate(parameters)
    resources = deploy(translated, parameters)
    ids = SHARED | WATCHING | {f"QRadar{p}" for p in PARTS} | {"QRadarAlarms", "EnqueuePolicy", "Dashboard", "VpcAccessPolicy",
                                                              "VpcEndpointSecurityGroup", "SqsEndpoint", "SecretsManagerEndpoint"}
    compare("QRadar in a VPC", translated, resources, ids)


def check_update():
    """A parameter that changes reaches the function."""
    url = "https://splunk.example.com:8088"
    for value in (url, url + "/services/collector/event"):
        parameters = enable("Splunk", SplunkHecUrl=value)
        deploy(translate(parameters), parameters)
        functions = [f for f in lambda_backends[ACCOUNT]["eu-west-1"].list_functions() if "SplunkFunction" in f.function_name]
        have = [f.environment_vars.get("SPLUNK_HEC_URL") for f in functions]
        expect(have == [value], f"SplunkHecUrl: want {value}, the function has {have}")


def check_canary():
    """Every change of settings is a new version, and a connector that is not deployed gets no deployment group."""
    def version(**more):
        resources = translate(enable("Splunk", **more), "Canary10Percent5Minutes")["Resources"]
        return [i for i in resources if i.startswith("SplunkFunctionVersion")], resources

    (before,), resources = version()
    (after,), _ = version(SplunkHecIndex="other")
    (again,), _ = version()
    expect(before == again and before != after, "canary: a changed setting makes no version of its own")
    for name in CONNECTORS:
        group = resources[f"{name}FunctionDeploymentGroup"]
        expect(group["Condition"] == f"{name}Enabled", f"canary: {name} leaves a deployment group behind when disabled")
        expect("Alarms" in json.dumps(group["Properties"]["AlarmConfiguration"]), f"canary: {name} has no alarm")
        mapping = resources[f"{name}FunctionQueue"]["Properties"]["FunctionName"]
        expect(mapping == {"Ref": f"{name}FunctionAliaslive"}, f"canary: {name}'s mapping goes past the alias")


def prepare():
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket="code")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("bootstrap", "not run here")
    s3.put_object(Bucket="code", Key="function.zip", Body=archive.getvalue())
    with open(os.path.join(ROOT, "alarms.yaml"), "rb") as f:
        s3.put_object(Bucket="code", Key="alarms.yaml", Body=f.read())


def main():
    logging.disable(logging.WARNING)  # moto names each resource that it does not make, each time
    checks = [check_none, *[lambda n=n: check_alone(n) for n in CONNECTORS], check_everything, check_vpc, check_update]
    for check in checks:
        with mock_aws(config={"lambda": {"use_docker": False}}):
            prepare()
            check()
    check_canary()
    kinds = {r["Type"] for r in translate({}, "Canary10Percent5Minutes")["Resources"].values()}
    with open(os.path.join(ROOT, "alarms.yaml"), encoding="utf-8") as f:
        kinds |= {r["Type"] for r in yaml_parse(f.read())["Resources"].values()}
    print(f"deployed into moto {len(checks)} times; not made by moto: "
          f"{', '.join(sorted(k for k in kinds if not supported(k)))}")


if __name__ == "__main__":
    sys.exit(main())
