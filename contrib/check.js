// Checks the Dashboard Studio dashboard of the Splunk app with Splunk's own schemas: of the definition, and of the
// options of each visualization. Checks the KQL of contrib/sentinel and of the project's documents with Microsoft's
// parser, against the columns of the table that azuredeploy.json creates and the function that parser.kql defines.
// The argument is the folder node_modules. It prints every problem and fails on any.
"use strict";
const fs = require("fs");
const path = require("path");
const modules = path.resolve(process.argv[2]);
const load = (name) => require(path.join(modules, name));
let problems = 0;

function dashboard() {
  const { defaultSchema } = load("@splunk/dashboard-definition");
  const schemas = load("@splunk/visualization-schemas");
  const Ajv = load("ajv").default;
  const file = path.resolve(__dirname, "splunk/arbitex_audit/default/data/ui/views/arbitex_overview.xml");
  const xml = fs.readFileSync(file, "utf8");
  const definition = JSON.parse(/<definition><!\[CDATA\[([\s\S]*?)\]\]>/.exec(xml)[1]);
  const ajv = new Ajv({ allErrors: true, strict: false });
  function report(what, errors) {
    for (const error of errors || []) {
      problems++;
      console.log(`${what}${error.instancePath}: ${error.message} ${JSON.stringify(error.params)}`);
    }
  }

  // The layout has the form of Splunk 9.0 and later; the schema wants that of 9.4, to which Splunk converts it.
  const { globalInputs, ...layout } = definition.layout;
  const converted = {
    ...definition,
    layout: { globalInputs, tabs: { items: [{ layoutId: "layout", label: "Overview" }] }, layoutDefinitions: { layout } },
  };
  const check = ajv.compile(defaultSchema);
  if (!check(converted)) report("definition", check.errors);

  const placed = definition.layout.structure.map((s) => s.item);
  for (const [id, visualization] of Object.entries(definition.visualizations)) {
    const name = visualization.type.replace("splunk.", "");
    const key = Object.keys(schemas).find((k) => k.toLowerCase() === `${name}optionsschema`);
    if (!key) report(id, [{ instancePath: "", message: "unknown type", params: visualization.type }]);
    else {
      const properties = schemas[key].properties || schemas[key];
      const options = ajv.compile({ type: "object", additionalProperties: false, properties });
      if (!options(visualization.options || {})) report(id, options.errors);
    }
    const source = visualization.dataSources.primary;
    if (!definition.dataSources[source]) report(id, [{ instancePath: "", message: "no data source", params: source }]);
    if (!placed.includes(id)) report(id, [{ instancePath: "", message: "not in the layout", params: id }]);
  }
  if (placed.length <= 10) report("layout", [{ instancePath: "", message: "too few visualizations", params: placed }]);
  const { version } = load("@splunk/dashboard-definition/package.json");
  console.log(`dashboard studio: ${placed.length} visualizations, @splunk/dashboard-definition ${version}`);
}

const read = (name) => fs.readFileSync(path.join(__dirname, "sentinel", name), "utf8");
const list = (collection) => Array.from({ length: collection.Count }, (_, i) => collection.getItem(i));

// Returns the table and the function that queries use.
function globals({ GlobalState, Symbols }) {
  const template = JSON.parse(read("azuredeploy.json"));
  const schema = template.resources[0].properties.schema;
  const columns = schema.columns.map((c) => `${c.name}: ${c.type.toLowerCase()}`).join(", ");
  const members = [new Symbols.TableSymbol.$ctor7(template.variables.table, `(${columns})`, null)];
  members.push(new Symbols.FunctionSymbol.$ctor16("ArbitexAudit", "()", `{ ${read("parser.kql")} }`, null));
  return GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor("workspace", members));
}

// Evaluates a value of an ARM template to its query, with the defaults of the parameters.
function evaluate(value, parameters) {
  if (!value.startsWith("[")) return value;
  const inner = /^\[concat\(([\s\S]*)\)\]$/.exec(value);
  if (!inner) throw new Error(`cannot evaluate ${value}`);
  let query = "";
  for (const part of inner[1].matchAll(/'((?:[^']|'')*)'|string\(parameters\('(\w+)'\)\)/g)) {
    query += part[2] ? JSON.stringify(parameters[part[2]].defaultValue) : part[1].replaceAll("''", "'");
  }
  return query;
}

function queries() {
  const found = [["parser.kql", read("parser.kql")]];
  // A blank line ends a query of queries.kql.
  read("queries.kql").split(/\n\s*\n/).forEach((query, i) => found.push([`queries.kql, query ${i + 1}`, query]));
  const content = JSON.parse(read("content.json"));
  for (const item of content.variables.workbook.items) {
    if (item.content.query) found.push([`workbook, ${item.name}`, item.content.query]);
  }
  for (const resource of content.resources) {
    const query = resource.properties.query;
    if (query) found.push([resource.properties.displayName, evaluate(query, content.parameters)]);
  }
  return found;
}

// Returns the queries of the project's Markdown files: fenced blocks of KQL, and code spans that are a query or a
// part of one.
function documented() {
  const root = path.resolve(__dirname, "..");
  const found = [];
  for (const folder of ["docs", "contrib"]) {
    for (const entry of fs.readdirSync(path.join(root, folder), { recursive: true })) {
      if (!entry.endsWith(".md")) continue;
      const text = fs.readFileSync(path.join(root, folder, entry), "utf8");
      const name = path.join(folder, entry);
      for (const [, query] of text.matchAll(/```(?:kusto|kql)\n([\s\S]*?)```/g)) found.push([name, query]);
      for (const [, span] of text.replaceAll(/```[\s\S]*?```/g, "").matchAll(/`([^`]+)`/g)) {
        if (/^ArbitexAudit(_CL)?\s*\|/.test(span)) found.push([name, span]);
        else if (/^(\| )?(extend|summarize|where|project) .*(RawOCSF|EventHash)/s.test(span)) {
          found.push([name, `ArbitexAudit\n| ${span.replace(/^\| /, "")}`]);
        }
      }
    }
  }
  if (found.length < 5) throw new Error(`only ${found.length} queries in the Markdown files`);
  return found;
}

function kql() {
  const service = "@kusto/language-service-next";
  load(`${service}/bridge.js`);
  load(`${service}/Kusto.Language.Bridge.js`);
  const { KustoCode } = global.Kusto.Language;
  const state = globals(global.Kusto.Language);
  const all = [...queries(), ...documented()];
  for (const [name, query] of all) {
    for (const diagnostic of list(KustoCode.ParseAndAnalyze(query, state).GetDiagnostics())) {
      problems++;
      const { Severity, Code, Message, Start, Length } = diagnostic;
      console.log(`${name}: ${Severity} ${Code}: ${Message}: ${query.substr(Start, Length)}`);
    }
  }
  if (all.length <= 15) throw new Error(`only ${all.length} queries`);
  console.log(`kql: ${all.length} queries, ${service} ${load(`${service}/package.json`).version}`);
}

dashboard();
kql();
console.log(`${problems} problems`);
process.exit(problems === 0 ? 0 : 1);
