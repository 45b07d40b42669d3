// Checks the Dashboard Studio dashboard of the Splunk app with Splunk's own schemas: of the definition, and of the
// options of each visualization.
"use strict";
const fs = require("fs");
const path = require("path");
const modules = path.resolve(process.argv[2]);
const load = (name) => require(path.join(modules, name));
const { defaultSchema } = load("@splunk/dashboard-definition");
const schemas = load("@splunk/visualization-schemas");
const Ajv = load("ajv").default;

const file = path.resolve(__dirname, "../splunk/arbitex_audit/default/data/ui/views/arbitex_overview.xml");
const xml = fs.readFileSync(file, "utf8");
const definition = JSON.parse(/<definition><!\[CDATA\[([\s\S]*?)\]\]>/.exec(xml)[1]);
const ajv = new Ajv({ allErrors: true, strict: false });
let problems = 0;
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
const { version } = load("@splunk/dashboard-definition/package.json");
console.log(`dashboard studio: ${placed.length} visualizations, ${problems} problems, ` +
  `@splunk/dashboard-definition ${version}`);
process.exit(problems === 0 && placed.length > 10 ? 0 : 1);
