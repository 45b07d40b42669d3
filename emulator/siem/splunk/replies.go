package splunk

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/arbitex/siem-connectors/emulator/siem"
)

// replies are HEC's responses. Product faults are looked up in this order.
var replies = []struct {
	code, status int
	text         string
}{
	{0, http.StatusOK, "Success"},
	{1, http.StatusForbidden, "Token disabled"},
	{2, http.StatusUnauthorized, "Token is required"},
	{3, http.StatusUnauthorized, "Invalid authorization"},
	{4, http.StatusForbidden, "Invalid token"},
	{5, http.StatusBadRequest, "No data"},
	{6, http.StatusBadRequest, "Invalid data format"},
	{7, http.StatusBadRequest, "Incorrect index"},
	{8, http.StatusInternalServerError, "Internal server error"},
	{9, http.StatusServiceUnavailable, "Server is busy"},
	{10, http.StatusBadRequest, "Data channel is missing"},
	{11, http.StatusBadRequest, "Invalid data channel"},
	{12, http.StatusBadRequest, "Event field is required"},
	{13, http.StatusBadRequest, "Event field cannot be blank"},
	{14, http.StatusBadRequest, "ACK is disabled"},
	{15, http.StatusBadRequest, "Error in handling indexed fields"},
	{16, http.StatusBadRequest, "Query string authorization is not enabled"},
	{17, http.StatusOK, "HEC is healthy"},
	{18, http.StatusServiceUnavailable, "HEC is unhealthy, queues are full"},
	{19, http.StatusServiceUnavailable, "HEC is unhealthy, ack service unavailable"},
	{20, http.StatusServiceUnavailable, "HEC is unhealthy, queues are full, ack service unavailable"},
	{21, http.StatusBadRequest, "Invalid token"},
	{22, http.StatusBadRequest, "Token disabled"},
	{23, http.StatusServiceUnavailable, "Server is shutting down"},
	{24, http.StatusOK, "Queue approaching capacity"},
	{25, http.StatusOK, "ACK approaching capacity"},
	{26, http.StatusTooManyRequests, "Queue at capacity"},
	{27, http.StatusTooManyRequests, "ACK channel at capacity"},
}

// reply returns the response with that code, and further members such as `"ackId":1`.
func reply(code int, members ...string) siem.Answer {
	r := replies[code]
	members = append([]string{fmt.Sprintf(`"text":%q`, r.text), fmt.Sprintf(`"code":%d`, r.code)}, members...)
	return siem.Answer{
		Status: r.status, Header: map[string]string{"Content-Type": "application/json; charset=UTF-8"}, Body: "{" +
			strings.Join(members, ",") + "}",
		Reason: fmt.Sprintf("%d code %d", r.status, r.code), Detail: strings.ToLower(r.text),
	}
}

// tooLarge returns the response of splunkd's web server, which HEC never sees: a page, not JSON.
func tooLarge() siem.Answer {
	text := fmt.Sprintf("Content-Length too large (maximum is %d)", maxContentLength)
	return siem.Answer{
		Status: http.StatusRequestEntityTooLarge, Header: map[string]string{"Content-Type": "text/html; charset=UTF-8"},
		Body:   "<!doctype html><html><head><title>413 " + text + "</title></head><body><h1>" + text + "</h1></body></html>",
		Detail: text,
	}
}
