// Package datadog compares what the connector sends with what Datadog's official Go client sends, and shows that this
// client gets on with the simulator, so that the simulator is not only the connector's own idea of Datadog.
//
// It is a module of its own. The client's one package for the API's second version is 100 MB of source, which takes
// three minutes and up to 6 GB of memory to compile.
// https://github.com/DataDog/datadog-api-client-go
package datadog

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/DataDog/datadog-api-client-go/v2/api/datadog"
	"github.com/DataDog/datadog-api-client-go/v2/api/datadogV2"

	"github.com/arbitex/siem-connectors/emulator/siem"
	simulator "github.com/arbitex/siem-connectors/emulator/siem/datadog"
	"github.com/arbitex/siem-connectors/emulator/siem/siemtest"
	connector "github.com/arbitex/siem-connectors/functions/datadog/connector"
	"github.com/arbitex/siem-connectors/internal/testkit/connectortest"
)

const apiKey = "0123456789abcdef0123456789abcdef"

// record has send send one request to a server that accepts it, and returns it.
func record(t *testing.T, send func(url string)) *connectortest.Request {
	t.Helper()
	r := connectortest.Record(t, connectortest.Status(http.StatusAccepted, "{}"))
	send(r.URL)
	return r.Only(t, "")
}

// theirs sends events through the official client.
func theirs(url, key string, compress bool, bodies []string) error {
	protocol, name, _ := strings.Cut(url, "://")
	ctx := context.WithValue(context.Background(), datadog.ContextAPIKeys,
		map[string]datadog.APIKey{"apiKeyAuth": {Key: key}})
	ctx = context.WithValue(ctx, datadog.ContextServerIndex, 1) // the one whose whole name can be set
	ctx = context.WithValue(ctx, datadog.ContextServerVariables, map[string]string{"protocol": protocol, "name": name})
	items := make([]datadogV2.HTTPLogItem, len(bodies))
	for i, body := range bodies {
		item := datadogV2.NewHTTPLogItem(body)
		item.SetDdsource("arbitex-audit")
		item.SetDdtags("env:test,service:arbitex")
		item.SetHostname("gateway-1")
		item.SetService("arbitex")
		items[i] = *item
	}
	options := datadogV2.NewSubmitLogOptionalParameters()
	if compress {
		options = options.WithContentEncoding(datadogV2.CONTENTENCODING_GZIP)
	}
	api := datadogV2.NewLogsApi(datadog.NewAPIClient(datadog.NewConfiguration()))
	_, answer, err := api.SubmitLog(ctx, items, *options)
	if answer != nil {
		answer.Body.Close()
	}
	return err
}

// ours sends events through the connector.
func ours(t *testing.T, url, compression string, bodies []string) {
	t.Helper()
	connectortest.Delivered(t, connectortest.Read(t, map[string]string{
		"DATADOG_INTAKE_URL": url, "SIEM_ALLOW_HTTP": "true", "DATADOG_API_KEY": apiKey, "DATADOG_TAGS": "env:test",
		"SIEM_HOST": "gateway-1", "SIEM_COMPRESSION": compression,
	}, connector.Open), bodies...)
}

// TestSameRequest: both send the same request, with and without compression. Entries are compared as values, because
// the client sorts their keys.
func TestSameRequest(t *testing.T) {
	for _, compression := range []string{"gzip", "none"} {
		t.Run(compression, func(t *testing.T) {
			bodies := connectortest.Generated(5, 20)
			we := record(t, func(url string) { ours(t, url, compression, bodies) })
			they := record(t, func(url string) {
				if err := theirs(url, apiKey, compression == "gzip", bodies); err != nil {
					t.Error(err)
				}
			})
			if we.Method != they.Method || we.RequestURI != they.RequestURI {
				t.Errorf("we send %s %s, they %s %s", we.Method, we.RequestURI, they.Method, they.RequestURI)
			}
			for _, name := range []string{"DD-API-KEY", "Content-Type", "Content-Encoding"} {
				if got, want := we.Header.Get(name), they.Header.Get(name); got != want {
					t.Errorf("we send %s %q, they %q", name, got, want)
				}
			}
			if we.Header.Get("DD-API-KEY") != apiKey {
				t.Errorf("the key is %q", we.Header.Get("DD-API-KEY"))
			}
			compare(t, we.Text, they.Text, bodies)
		})
	}
}

func compare(t *testing.T, we, they string, bodies []string) {
	t.Helper()
	our, their := decode(t, we), decode(t, they)
	if !reflect.DeepEqual(our, their) {
		t.Errorf("we send %v, they %v", our, their)
	}
	if len(our) != len(bodies) {
		t.Fatalf("%d entries, want %d", len(our), len(bodies))
	}
	for i, body := range bodies {
		if our[i]["message"] != body {
			t.Errorf("entry %d: message %q, want %q", i, our[i]["message"], body)
		}
	}
}

func decode(t *testing.T, body string) (entries []map[string]string) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &entries); err != nil {
		t.Fatal(err)
	}
	return entries
}

// TestSites: the connector supports exactly the sites that the client supports.
func TestSites(t *testing.T) {
	servers := datadog.NewConfiguration().OperationServers["v2.LogsApi.SubmitLog"]
	theirs := slices.Clone(servers[0].Variables["site"].EnumValues)
	for _, site := range theirs {
		if err := openAt(site); err != nil {
			t.Errorf("%s: %v", site, err)
		}
	}
	err := openAt("datadoghq.example")
	if err == nil {
		t.Fatal("a site that nobody knows is taken")
	}
	_, list, _ := strings.Cut(err.Error(), "one of ")
	list, _, _ = strings.Cut(list, ", found")
	ours := strings.Split(list, ", ")
	slices.Sort(ours)
	slices.Sort(theirs)
	if !slices.Equal(ours, theirs) {
		t.Errorf("we know %q, they %q", ours, theirs)
	}
}

func openAt(site string) error {
	s := connectortest.Settings(map[string]string{"DATADOG_SITE": site, "DATADOG_API_KEY": apiKey})
	connector.Open(s)
	return s.Err()
}

// TestClientAndSimulator: the official client reads the simulator's responses to a valid and to an invalid request.
func TestClientAndSimulator(t *testing.T) {
	s := siemtest.Start(t, simulator.New, siem.Options{Plain: true})
	bodies := connectortest.Generated(5, 20)
	if err := theirs(s.URL(), s.Secret()["DATADOG_API_KEY"], true, bodies); err != nil {
		t.Fatal(err)
	}
	if err := theirs(s.URL(), apiKey, true, bodies); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a wrong key: %v, want status 403", err)
	}
	accepted := s.Accepted()
	if len(accepted) != len(bodies) {
		t.Fatalf("%d entries, want %d", len(accepted), len(bodies))
	}
	for i, body := range bodies {
		if string(accepted[i].Event) != body {
			t.Errorf("entry %d: %q, want %q", i, accepted[i].Event, body)
		}
	}
}
