// Checks the KQL of contrib/sentinel and of the project's documents with Microsoft's parser, against the columns of
// the table that azuredeploy.json creates and the function that parser.kql defines. It prints every diagnostic and
// fails on any.
"use strict";
const fs = require("fs");
const path = require("path");
const modules = path.resolve(process.argv[2]);
const sentinel = path.resolve(__dirname, "../sentinel");
const service = path.join(modules, "@kusto/language-service-next");
require(path.join(service, "bridge.js"));
require(path.join(service, "Kusto.Language.Bridge.js"));
const { KustoCode, GlobalState, Symbols } = global.Kusto.Language;

const read = (name) => fs.readFileSync(path.join(sentinel, name), "utf8");
const list = (collection) => Array.from({ length: collection.Count }, (_, i) => collection.getItem(i));

function globals() {
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
  const root = path.resolve(__dirname, "../..");
  const found = [];
  for (const folder of ["docs", "functions", "contrib"]) {
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

const state = globals();
let problems = 0;
const all = [...queries(), ...documented()];
for (const [name, query] of all) {
  for (const diagnostic of list(KustoCode.ParseAndAnalyze(query, state).GetDiagnostics())) {
    problems++;
    const { Severity, Code, Message, Start, Length } = diagnostic;
    console.log(`${name}: ${Severity} ${Code}: ${Message}: ${query.substr(Start, Length)}`);
  }
}
const { version } = require(path.join(service, "package.json"));
console.log(`kql: ${all.length} queries, ${problems} problems, @kusto/language-service-next ${version}`);
process.exit(problems === 0 && all.length > 15 ? 0 : 1);
