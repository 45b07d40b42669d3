package siem

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
)

// Foreign is a response that does not come from the SIEM: from a proxy, a web application firewall, another product.
type Foreign struct {
	Name   string
	Status int
	Header map[string]string
	Body   string
}

// Fault returns the fault that sends the response.
func (f Foreign) Fault() Fault {
	return Fault{Kind: Status, Status: f.Status, Header: f.Header, Body: f.Body}
}

func html(name string, status int, body string) Foreign {
	return Foreign{name, status, map[string]string{"Content-Type": "text/html"}, body}
}

func object(name string, status int, body string) Foreign {
	return Foreign{name, status, map[string]string{"Content-Type": "application/json"}, body}
}

// ForeignSuccesses returns responses with status 2xx. None of them is a success of any SIEM; see [Succeeds].
func ForeignSuccesses() []Foreign {
	return []Foreign{
		html("login page", http.StatusOK, "<!DOCTYPE html><html><body>Please sign in to continue.</body></html>"),
		html("single-page application", http.StatusOK,
			`<!doctype html><html><div id="app"></div><script src="/app.js"></script></html>`),
		html("page of a proxy with 202", http.StatusAccepted, "<html><body>Your request is being scanned.</body></html>"),
		{"plain text", http.StatusOK, map[string]string{"Content-Type": "text/plain"}, "OK"},
		object("JSON array", http.StatusOK, `["ok"]`),
		object("JSON cut off", http.StatusOK, `{"status":"ok","`),
		object("errors of another product", http.StatusOK, `{"error":"license expired","errors":["license expired"]}`),
	}
}

// ForeignRefusals returns refusals that are not in the error format of any SIEM. They are not the event's fault.
func ForeignRefusals() []Foreign {
	return []Foreign{
		html("nginx: client certificate", http.StatusBadRequest,
			"<html><head><title>400 No required SSL certificate was sent</title></head></html>"),
		html("firewall page", http.StatusForbidden, "<html><body>Request blocked. Incident 4711.</body></html>"),
		html("firewall: 406", http.StatusNotAcceptable,
			"<head><title>Not Acceptable!</title></head>An appropriate representation could not be found."),
		html("load balancer: 502", http.StatusBadGateway, "<html><head><title>502 Bad Gateway</title></head></html>"),
		html("page with 422", http.StatusUnprocessableEntity,
			"<html><body>The change you wanted was rejected.</body></html>"),
		{"empty 400", http.StatusBadRequest, nil, ""},
		object("Kibana", http.StatusBadRequest, `{"statusCode":400,"message":"[request body]: expected a plain object"}`),
	}
}

// Succeeds reports whether a response is a success of the connector's SIEM. n is the number of events in the request.
// The rules are those of the table of the wire format; they are written again here, so that a connector cannot share a
// mistake with the test that uses them.
func Succeeds(connector string, status int, body []byte, n int) bool {
	body = bytes.TrimSpace(body)
	var reply map[string]json.RawMessage
	isObject := json.Unmarshal(body, &reply) == nil && reply != nil
	isJSON := json.Valid(body)
	empty := len(body) == 0
	switch connector {
	case "splunk":
		code := strings.TrimSpace(string(reply["code"]))
		return isObject && (code == "0" || status == http.StatusOK && (code == "24" || code == "25")) && status/100 == 2
	case "sentinel":
		return status/100 == 2 && (empty || isJSON && reply["error"] == nil)
	case "elastic":
		var items []json.RawMessage
		return status/100 == 2 && isObject && json.Unmarshal(reply["items"], &items) == nil && len(items) == n
	case "datadog": // DATADOG_INTAKE_URL is set
		return status/100 == 2 && (empty || isObject && reply["errors"] == nil)
	case "sumo":
		return status == http.StatusOK && (empty || isJSON)
	case "xsiam":
		switch string(reply["error"]) {
		case "", "null", "false", `"false"`, `""`:
			return status/100 == 2 && (empty || isJSON)
		}
	}
	return false
}
