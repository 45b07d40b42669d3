"""Compiles schema.tsv from the sources of OCSF (https://github.com/ocsf/ocsf-schema, Apache-2.0).

python3 compile.py 1.1=DIR 1.2=DIR ... > schema.tsv, with one checkout of the repository for each version, oldest first.
"""

import json
import pathlib
import sys


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


class Schema:
    """The classes and profiles of one version."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.attributes = read(self.root / "dictionary.json")["attributes"]
        self.objects, self.events = {}, {}
        extensions = [(self.root, 0)]
        extensions += [(p.parent, read(p)["uid"]) for p in sorted(self.root.glob("extensions/*/extension.json"))]
        for folder, uid in extensions:
            if (folder / "dictionary.json").exists():
                self.attributes = {**read(folder / "dictionary.json")["attributes"], **self.attributes}
            for path in sorted(folder.glob("objects/**/*.json")):
                self.objects.setdefault(read(path).get("name", path.stem), read(path))
            for path in sorted(folder.glob("events/**/*.json")):
                event = read(path)
                event["extension"] = uid
                self.events.setdefault(event.get("name", path.stem), event)
        self.categories = {k: v["uid"] for k, v in read(self.root / "categories.json")["attributes"].items()}
        self.profiles = sorted(read(p)["name"] for p in self.root.glob("**/profiles/*.json"))

    def included(self, name, folder):
        path = folder / name
        return read(path) if path.exists() else read(self.root / name)

    def merged(self, table, name):
        """Returns the attributes of an event or object, with those that it extends, and its inherited category."""
        item = table[name]
        attributes, category = {}, item.get("category")
        parent = item.get("extends")
        if parent and parent in table and parent != name:
            attributes, inherited = self.merged(table, parent)
            category = category or inherited
        own = dict(item.get("attributes", {}))
        includes = own.pop("$include", [])
        for include in [includes] if isinstance(includes, str) else includes:
            if include.startswith("profiles/"):
                continue  # these are attributes only of events with the profile
            for key, value in self.included(include, self.root).get("attributes", {}).items():
                if key != "$include":
                    attributes[key] = join(attributes.get(key, {}), value)
        for key, value in own.items():
            attributes[key] = join(attributes.get(key, {}), value)
        return attributes, category

    def required(self, attributes, prefix=""):
        """Returns the required attributes, and those that a required object requires, one level down."""
        for key, value in sorted(attributes.items()):
            if value.get("requirement") != "required" or value.get("profile"):
                continue
            yield prefix + key
            kind = self.attributes.get(key, {})
            if not prefix and kind.get("type") in self.objects and not kind.get("is_array"):
                inner, _ = self.merged(self.objects, kind["type"])
                yield from self.required(inner, key + ".")

    def classes(self):
        """Returns name, required attributes and activities by class_uid."""
        found = {}
        for name, event in self.events.items():
            attributes, category = self.merged(self.events, name)
            if event.get("uid") is None and name != "base_event":
                continue  # abstract
            uid = event["extension"] * 100_000 + self.categories.get(category, 0) * 1000 + event.get("uid", 0)
            activities = attributes.get("activity_id", {}).get("enum", {})
            found[uid] = (event["caption"], " ".join(self.required(attributes)),
                          " ".join(sorted(activities, key=int)))
        return found


def join(old, new):
    enum = {**old.get("enum", {}), **new.get("enum", {})}
    both = {**old, **new}
    if enum:
        both["enum"] = enum
    return both


def ranges(versions, rows):
    """Merges the rows of neighbouring versions that are equal: {key: {version: row}}."""
    for key in sorted(rows):
        run = None
        for version in versions:
            row = rows[key].get(version)
            if run and row == run[2]:
                run[1] = version
                continue
            if run:
                yield key, run
            run = [version, version, row] if row is not None else None
        if run:
            yield key, run


def main(args):
    schemas = {version: Schema(folder) for version, _, folder in (a.partition("=") for a in args)}
    classes, profiles = {}, {}
    for version, schema in schemas.items():
        for uid, row in schema.classes().items():
            classes.setdefault(uid, {})[version] = row
        for name in schema.profiles:
            profiles.setdefault(name, {})[version] = ()
    for name, (first, last, _) in ranges(schemas, profiles):
        print("profile", name, first, last, sep="\t")
    for uid, (first, last, row) in ranges(schemas, classes):
        print("class", uid, first, last, *row, sep="\t")


if __name__ == "__main__":
    main(sys.argv[1:])
