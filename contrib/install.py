"""Installs a pack with the API of its SIEM: python3 contrib/install.py elastic|datadog|sumo|sentinel

A second run replaces what it can and creates nothing twice. The variables are on the page of the SIEM in
docs/connectors. No dependencies; sentinel runs the Azure CLI.
"""

import base64
import http.client
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

HERE = pathlib.Path(__file__).resolve().parent


class Failed(Exception):
    """A setting is missing or invalid, or a request was refused."""


class NotFound(Failed):
    """The response has the status 404."""


def optional(name):
    """Returns a variable without the white space around it: a key that was read from a file ends in a line break."""
    return os.environ.get(name, "").strip()


def setting(name, expected, default=None):
    value = optional(name) or default
    if not value:
        raise Failed(f"{name}: expected {expected}, found nothing")
    return value


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes a redirect an error: a credential goes only to the host that was named."""

    def redirect_request(self, *args):
        return None


OPENER = urllib.request.build_opener(NoRedirect)


class API:
    """Sends requests to one base URL with fixed headers. Credentials in the URL become basic authentication.

    The URL and the headers hold secrets: no error quotes them.
    """

    def __init__(self, name, url, headers=None):
        try:
            parts = urllib.parse.urlsplit(url)
            valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0  # port checks itself
        except ValueError:
            valid = False
        # In a password, the characters / ? # end the host: the rest of the password, and @, are then behind it.
        if not valid or "@" in parts.path or parts.query or parts.fragment:
            raise Failed(f"{name}: expected the URL https://host:port, found something else; "
                         "percent-encode the password")
        self.headers = dict(headers or {})
        if parts.username:
            pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            self.headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
            parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
        self.url = urllib.parse.urlunsplit(parts).rstrip("/")

    def call(self, method, path, body=None, kind="application/json", headers=None):
        """Returns the decoded response. Raises Failed with the first 500 characters of a refusal."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": kind, **self.headers, **(headers or {})}
        try:
            request = urllib.request.Request(self.url + path, data=data, method=method, headers=sent)
            with OPENER.open(request, timeout=60) as response:
                received = response.read()
        except urllib.error.HTTPError as e:
            failed = NotFound if e.code == 404 else Failed
            raise failed(f"{method} {path}: status {e.code}: {e.read(500).decode(errors='replace')}") from None
        except OSError as e:
            raise Failed(f"{method} {path}: {e}") from None
        except ValueError:  # its text quotes the header or the URL
            raise Failed(f"{method} {path}: a key or the URL has a character that HTTP does not allow") from None
        except http.client.HTTPException as e:  # InvalidURL quotes the URL
            raise Failed(f"{method} {path}: {type(e).__name__}: the URL or the response is not valid") from None
        try:
            return json.loads(received or b"null")
        except ValueError as e:
            raise Failed(f"{method} {path}: the response is not JSON: {e}") from None


def report(what, name):
    print(f"{what:>9}  {name}", flush=True)


def load(path):
    return json.loads((HERE / path).read_text(encoding="utf-8"))


def create_missing(api, present, path, items, name="name"):
    """Creates the items whose name is not present."""
    for item in items:
        if item[name] in present:
            report("exists", item[name])
            continue
        api.call("POST", path, item)
        report("created", item[name])


def upload(api, path, file, content):
    """Imports a file in Kibana."""
    boundary = uuid.uuid4().hex
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file}"\r\n'
        "Content-Type: application/ndjson\r\n\r\n"
    ).encode() + content + f"\r\n--{boundary}--\r\n".encode()
    result = api.call("POST", path, body, f"multipart/form-data; boundary={boundary}")
    if result.get("success") is not True:
        raise Failed(f"{file}: {json.dumps(result)[:500]}")
    report("imported", file)


def detections(api):
    """Imports the rules that Kibana does not have. An import over a rule would disable it and remove its actions."""
    missing, present = [], 0
    for line in (HERE / "elastic/detection-rules.ndjson").read_text(encoding="utf-8").splitlines():
        rule = json.loads(line)
        if "rule_id" not in rule:  # the last line counts the rules; an import does not need it
            continue
        try:
            api.call("GET", "/api/detection_engine/rules?rule_id=" + rule["rule_id"])
        except NotFound:
            missing.append(line + "\n")
        else:
            present += 1
            report("exists", rule["name"])
    if present:
        print(f"existing detections, left as they are: {present}")
    if missing:
        upload(api, "/api/detection_engine/rules/_import", "detection-rules.ndjson", "".join(missing).encode())


def elastic():
    """ELASTIC_URL, ELASTIC_ADMIN_API_KEY, and KIBANA_URL for dashboard and detections."""
    key = optional("ELASTIC_ADMIN_API_KEY")
    headers = {"Authorization": f"ApiKey {key}"} if key else {}
    api = API("ELASTIC_URL", setting("ELASTIC_URL", "the URL of the cluster"), headers)
    version = api.call("GET", "/")["version"]
    pipeline = template = "elastic"
    if version.get("distribution") == "opensearch":
        pipeline = template = "elastic/opensearch"
    elif version.get("build_flavor") != "serverless" and tuple(map(int, version["number"].split(".")[:2])) < (8, 14):
        template = "elastic/elasticsearch-7.10"
    api.call("PUT", "/_ingest/pipeline/arbitex-audit", load(f"{pipeline}/ingest-pipeline.json"))
    report("stored", f"ingest pipeline arbitex-audit ({pipeline})")
    api.call("PUT", "/_index_template/arbitex-audit", load(f"{template}/index-template.json"))
    report("stored", f"index template arbitex-audit ({template})")
    kibana = optional("KIBANA_URL")
    if not kibana:
        print("KIBANA_URL is not set: import dashboard.ndjson and detection-rules.ndjson in Kibana.")
        return
    api = API("KIBANA_URL", kibana, {**headers, "kbn-xsrf": "true"})
    dashboard = (HERE / "elastic/dashboard.ndjson").read_bytes()
    upload(api, "/api/saved_objects/_import?overwrite=true", "dashboard.ndjson", dashboard)
    detections(api)


def datadog():
    """DATADOG_API_KEY, DATADOG_APP_KEY, and DATADOG_SITE."""
    site = setting("DATADOG_SITE", "", "datadoghq.com")
    url = optional("DATADOG_API_URL")
    api = API("DATADOG_API_URL" if url else "DATADOG_SITE", url or f"https://api.{site}", {
        "DD-API-KEY": setting("DATADOG_API_KEY", "an API key"),
        "DD-APPLICATION-KEY": setting("DATADOG_APP_KEY", "an application key of a user who may write logs pipelines, "
                                      "dashboards, monitors and security rules"),
    })
    pipelines = "/api/v1/logs/config/pipelines"
    present = {p["name"] for p in api.call("GET", pipelines)}
    create_missing(api, present, pipelines, [load("datadog/pipeline.json")])
    present = {d["title"] for d in api.call("GET", "/api/v1/dashboard")["dashboards"]}
    create_missing(api, present, "/api/v1/dashboard", [load("datadog/dashboard.json")], "title")
    present = {m["name"] for m in api.call("GET", "/api/v1/monitor?name=Arbitex")}
    create_missing(api, present, "/api/v1/monitor", load("datadog/monitors.json"))
    rules = "/api/v2/security_monitoring/rules"
    present, page = set(), 0
    while batch := api.call("GET", f"{rules}?page[size]=100&page[number]={page}")["data"]:
        present |= {r["name"] for r in batch}
        page += 1
    create_missing(api, present, rules, load("datadog/security-rules.json"))


def sumo():
    """SUMO_API_URL, SUMO_ACCESS_ID, SUMO_ACCESS_KEY, SUMO_COLLECTOR, SUMO_FOLDER and SUMO_ALERT_EMAIL."""
    pair = setting("SUMO_ACCESS_ID", "an access id") + ":" + setting("SUMO_ACCESS_KEY", "the key of the access id")
    api = API("SUMO_API_URL", setting("SUMO_API_URL", "the API endpoint, such as https://api.eu.sumologic.com/api"),
              {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()})
    collector = setting("SUMO_COLLECTOR", "the id of a hosted collector")
    folder = setting("SUMO_FOLDER", "the id of a folder")
    email = setting("SUMO_ALERT_EMAIL", "the address to which the searches report")
    sources = f"/v1/collectors/{collector}/sources"
    source = load("sumo/http-source.json")
    if source["source"]["name"] in {s["name"] for s in api.call("GET", sources)["sources"]}:
        report("exists", source["source"]["name"])
    else:
        made = api.call("POST", sources, source)["source"]
        report("created", f"{made['name']}; its URL is SUMO_HTTP_SOURCE_URL: Collection > Show URL")
    present = {r["name"] for r in api.call("GET", "/v1/extractionRules?limit=1000")["data"]}
    create_missing(api, present, "/v1/extractionRules", [load("sumo/field-extraction-rule.json")])
    content = (HERE / "sumo/content.json").read_text(encoding="utf-8").replace("soc@example.com", email)
    path = f"/v2/content/folders/{folder}/import"
    job = api.call("POST", path + "?overwrite=true", json.loads(content))["id"]
    for _ in range(60):
        status = api.call("GET", f"{path}/{job}/status")
        if status["status"] != "InProgress":
            break
        time.sleep(2)
    if status["status"] != "Success":
        raise Failed(f"content.json: {json.dumps(status)[:500]}")
    report("imported", "content.json")


def sentinel():
    """AZURE_RESOURCE_GROUP, SENTINEL_WORKSPACE, SENTINEL_PRINCIPAL_ID, and SENTINEL_COUNTRIES (a JSON array)."""
    group = setting("AZURE_RESOURCE_GROUP", "the resource group of the workspace")
    workspace = "workspaceName=" + setting("SENTINEL_WORKSPACE", "the name of the workspace")
    principal = "principalId=" + setting("SENTINEL_PRINCIPAL_ID", "the object id of the application")
    countries = optional("SENTINEL_COUNTRIES")
    content = [workspace] + (["workingCountries=" + countries, "enableRules=true"] if countries else [])
    for file, parameters in (("azuredeploy.json", [workspace, principal]), ("content.json", content)):
        command = ["az", "deployment", "group", "create", "-g", group, "-f", str(HERE / "sentinel" / file), "-p"]
        try:
            subprocess.run(command + parameters, check=True)
        except FileNotFoundError:
            raise Failed("az: the Azure CLI is not installed") from None
        except subprocess.CalledProcessError as e:
            raise Failed(f"{file}: az ended with {e.returncode}") from None
        report("deployed", file)


PACKS = {"elastic": elastic, "datadog": datadog, "sumo": sumo, "sentinel": sentinel}


def main(args):
    if len(args) != 1 or args[0] not in PACKS:
        print(__doc__)
        for name, install in PACKS.items():
            print(f"{name}: {install.__doc__}")
        return 2
    try:
        PACKS[args[0]]()
    except Failed as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
