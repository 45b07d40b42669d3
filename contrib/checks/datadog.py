"""Checks types, keys and allowed values of contrib/datadog with the models of Datadog's API client."""

import importlib.metadata
import json
import pathlib
import sys

from datadog_api_client.configuration import Configuration
from datadog_api_client.exceptions import ApiTypeError, ApiValueError
from datadog_api_client.model_utils import ModelNormal, UnparsedObject, validate_and_convert_types
from datadog_api_client.v1.model.dashboard import Dashboard
from datadog_api_client.v1.model.logs_pipeline import LogsPipeline
from datadog_api_client.v1.model.monitor import Monitor
from datadog_api_client.v2.model.security_monitoring_standard_rule_create_payload import (
    SecurityMonitoringStandardRuleCreatePayload,
)

FOLDER = pathlib.Path(__file__).parent.parent / "datadog"
FILES = {
    "pipeline.json": (LogsPipeline, False),
    "dashboard.json": (Dashboard, False),
    "monitors.json": (Monitor, True),
    "security-rules.json": (SecurityMonitoringStandardRuleCreatePayload, True),
}


def unknown(value, path):
    """Yields the places where the client found no model, or a key that the model does not have."""
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


def problems(name, model, data):
    """Returns what is wrong with one object of a file."""
    try:
        parsed = validate_and_convert_types(data, (model,), [name], True, True, Configuration())
    except (ApiTypeError, ApiValueError, TypeError) as error:
        return [f"{name}: {error}"]
    return list(unknown(parsed, name))


def main():
    """Prints the problems of all files and exits with 1 if there are any."""
    found, count = [], 0
    for name, (model, many) in FILES.items():
        data = json.loads((FOLDER / name).read_text())
        for index, one in enumerate(data if many else [data]):
            count += 1
            found += problems(f"{name}[{index}]" if many else name, model, one)
    print("\n".join([*found, f"datadog: {count} objects, {len(found)} problems, datadog-api-client "
                     f"{importlib.metadata.version('datadog-api-client')}"]))
    sys.exit(1 if found else 0)


main()
