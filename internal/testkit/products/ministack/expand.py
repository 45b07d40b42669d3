"""Prints the template at the path of the first argument with its loops expanded, as JSON. The second argument is a JSON
object of parameters.

MiniStack replaces an identifier only where CloudFormation does. SAM CLI, which deploys the template unexpanded, replaces
it everywhere.
"""

import json
import sys

from ministack.services.cloudformation import engine, language_extensions

with open(sys.argv[1], encoding="utf-8") as f:
    template = engine._parse_template(f.read())
values = {name: str(p["Default"]) for name, p in template["Parameters"].items()} | json.loads(sys.argv[2])
print(json.dumps(language_extensions.apply(template, values)))
