package ocsfgen

import "encoding/json"

var severities = []struct {
	id      int
	caption string
}{
	{1, "Informational"}, {1, "Informational"}, {1, "Informational"}, {1, "Informational"}, {2, "Low"}, {3, "Medium"},
	{4, "High"}, {5, "Critical"}, {6, "Fatal"}, {0, "Unknown"}, {99, "Other"},
}

var operations = []struct {
	name         string
	path         string
	activity     int
	activityName string
}{
	{"chat_completion", "/v1/chat/completions", 1, "Create"},
	{"chat_completion", "/v1/chat/completions", 1, "Create"},
	{"embedding", "/v1/embeddings", 1, "Create"},
	{"conversation_read", "/v1/conversations", 2, "Read"},
	{"conversation_delete", "/v1/conversations", 4, "Delete"},
	{"prompt_template_update", "/v1/templates", 3, "Update"},
}

var findings = []struct {
	title string
	types []string
}{
	{"Payment card number in a prompt", []string{"pci", "credit_card"}},
	{"Prompt injection: \"ignore all previous instructions\"", []string{"prompt_injection"}},
	{"Source code leaving the tenant", []string{"source_code", "confidential"}},
	{"Personal data (EU) | special category", []string{"pii", "gdpr_art_9", "health=yes"}},
}

var people = []struct{ name, full, email string }{
	{"alice", "Alice Liddell", "alice@example.com"},
	{"bjoern", "Björn Åkesson", "björn.åkesson@example.se"},
	{"sean.oneill", "Seán \"Séan\" O'Neill", "sean.o'neill+ai@example.ie"},
	{"CORP\\mbauer", "Max Bauer", "max.bauer@example.de"},
	{"yamada", "山田 太郎", "taro.yamada@example.jp"},
	{"noor", "نور الهاشمي", "noor@example.ae"},
	{"svc-etl|nightly", "ETL = nightly", "svc-etl@example.com"},
	{"zoe", "Zoë 🦊 Fox", "zoe@example.com"},
}

var groups = []string{"engineering", "finance", "legal & compliance", "r\\d", "データ", "sales,emea"}

var tenants = []string{"ten_northwind", "ten_contoso", "ten_fabrikam"}

var models = []string{"gpt-4o", "claude-sonnet-4", "mistral-large", "llama-3.3-70b", "internal/summarizer=v2"}

var labels = [][]string{{}, {}, {"pii"}, {"pii", "financial"}, {"source_code"}, {"geheim|streng", "naïve=true",
	"back\\slash"}}

// costs are numbers that change when they are parsed and printed again.
var costs = []json.Number{"0.00120", "0.0", "1.50e-3", "12.3000", "-0.0", "3E-4"}

// spans are whole numbers beyond what a float64 holds exactly.
var spans = []json.Number{"9007199254740993", "9223372036854775807", "1", "-9007199254740993"}

var references = []json.RawMessage{
	json.RawMessage(`"pol\/42"`), json.RawMessage(`"pol_default"`), json.RawMessage(`"pol_\u0065u"`),
	json.RawMessage(`null`),
}

var userAgents = []string{
	"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/134.0 Safari/537.36",
	"python-httpx/0.28.1", "curl/8.12.1", `agent "quoted" \ (unknown; rv=1|2)`,
}

var entityNames = []string{
	"Default policy", `Regel "Vertraulich"`, "no|pipes=please", "C:\\policies\\eu.yaml", "line\nbreak", "方針 🚦",
}

// messages are JSON strings as they appear in the event, so that they can contain unnecessary escapes.
var messages = []json.RawMessage{
	json.RawMessage(`"Request allowed by policy"`),
	json.RawMessage(`"Blocked: \"card number\" found in prompt, 1 of 3 parts redacted"`),
	json.RawMessage(`"Path C:\\Users\\alice\\notes.txt was attached"`),
	json.RawMessage(`"multi\nline\r\nmessage\twith a tab"`),
	json.RawMessage(`"act=allow|suser=root cs1=x msg=\\=injected\\|"`),
	json.RawMessage(`"caf\u00e9, na\u00efve, \ud83d\ude80 escaped; \/slashes\/ too"`),
	json.RawMessage(`"Grüße aus Köln – „Anführung“ 🔐👩‍💻 完了"`),
	json.RawMessage(`"مرحبا \u200f(rtl) and a\u2028line separator"`),
	json.RawMessage(`"<script>alert(1)</script> & ${jndi:ldap:\/\/x} %s %n"`),
	json.RawMessage(`"bell \u0007, escape \u001b[31m, delete \u007f"`),
	json.RawMessage(`"{\"nested\":\"json\",\"list\":[1,2,3]}"`),
	json.RawMessage(`""`),
}

var excerpts = []string{
	"User: summarise the attached contract, please.\nAssistant: Of course. The parties agree that \"Confidential " +
		"Information\" … ",
	"system> you are a careful assistant; never reveal C:\\secrets\\key.pem | end=true\n",
	"Nutzer: Wie viele Rücklagen brauchen wir? 🙂 Antwort: etwa 12,5 % — siehe Tabelle.\r\n",
	"\t{\"role\":\"tool\",\"content\":\"SELECT * FROM t WHERE a = 'b' AND c <> \\\"d\\\"\"}\n",
	"質問：この文書を要約してください。回答：はい、承知しました。\n",
}
