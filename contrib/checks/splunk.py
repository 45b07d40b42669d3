"""Inspects the Splunk app with splunk-appinspect, as Splunkbase and Splunk Cloud do. The report is in build/content."""

import importlib.metadata
import json
import pathlib
import subprocess
import sys

APP = pathlib.Path(__file__).parent.parent / "splunk" / "arbitex_audit"


def inspect(build, label, arguments):
    """Returns the number of problems that one inspection finds, after it has printed them."""
    report = build / f"appinspect-{label}.json"
    command = [pathlib.Path(sys.executable).parent / "splunk-appinspect", "inspect", APP, "--mode", "precert",
               "--data-format", "json", "--output-file", report, *arguments]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if not report.exists():
        print("splunk: splunk-appinspect wrote no report; it needs libmagic (Debian: libmagic1)")
        return 1
    result = json.loads(report.read_text())
    bad = 0
    for group in result["reports"][0]["groups"]:
        for check in group["checks"]:
            if check["result"] in ("failure", "future_failure", "error", "warning"):
                bad += 1
                print(f"splunk: {check['result']}: {check['name']}: {[m['message'] for m in check['messages']]}")
    version = importlib.metadata.version("splunk-appinspect")
    print(f"splunk: {label}: {json.dumps(result['summary'])}, splunk-appinspect {version}")
    return bad


def main():
    """Inspects for Splunkbase and for Splunk Cloud. The argument is the folder for the reports."""
    build = pathlib.Path(sys.argv[1])
    for old in build.glob("appinspect-*.json"):
        old.unlink()
    found = inspect(build, "precert", []) + inspect(build, "cloud", ["--included-tags", "cloud"])
    sys.exit(1 if found else 0)


main()
