"""Serves MiniStack at the address of the first argument until standard input ends, then ends its functions too.

It adds two things to the authorization that MiniStack 1.5.33 does not know.
"""

import os
import signal
import sys
import threading

from hypercorn.__main__ import main
from ministack.core import iam_actions

lambda_action = iam_actions._lambda_action
object_context = iam_actions._s3_object_context


def lambda_action_on_mapping(method, path):
    """Adds the actions on one event source mapping: MiniStack takes a GET for a list, and permits all else."""
    parts = path.strip("/").split("/")
    if parts[1:2] == ["event-source-mappings"] and len(parts) == 3:
        return {"GET": "Get", "PUT": "Update", "DELETE": "Delete"}[method] + "EventSourceMapping"
    return lambda_action(method, path)


def object_context_with_conditions(action, query, path, headers):
    """Adds the condition keys of conditional writes."""
    context = object_context(action, query, path, headers)
    for name in ("if-match", "if-none-match"):
        if action == "s3:PutObject" and headers.get(name):
            context["s3:" + name] = headers[name]
    return context


def watch():
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)


iam_actions._lambda_action = lambda_action_on_mapping
iam_actions._s3_object_context = object_context_with_conditions
threading.Thread(target=watch, daemon=True).start()
# 0 workers: in this process, which has the change above.
sys.exit(main(["--config", "python:ministack.core.hypercorn_conf", "--workers", "0", "--bind", sys.argv[1],
               "ministack.app:app"]))
