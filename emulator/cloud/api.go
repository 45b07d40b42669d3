package cloud

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	neturl "net/url"
	"slices"
	"strings"
	"time"

	"github.com/arbitex/siem-connectors/internal/samtemplate"
)

// api serves all AWS services of a deployment at one address, for clients with one endpoint (the AWS CLI, siemctl). It
// implements Lambda, the stack's resources, the functions' logs and metrics, and passes everything else to moto. The
// signature of a request, which is not verified, names the service.
type api struct {
	cloud *Cloud
	moto  http.Handler
}

// ServeAPI starts the API and returns its address for AWS_ENDPOINT_URL. It runs until ctx ends or the cloud stops.
func (c *Cloud) ServeAPI(ctx context.Context) (endpoint string, err error) {
	target, err := neturl.Parse(c.moto.Endpoint())
	if err != nil {
		return "", fmt.Errorf("opening the API: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("opening the API: %w", err)
	}
	a := &api{cloud: c, moto: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusServiceUnavailable) // the caller has closed, or the cloud stops
		},
	}}
	server := &http.Server{Handler: a, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	go func() {
		select {
		case <-ctx.Done():
		case <-c.stopped:
		}
		_ = server.Close()
	}()
	return "http://" + listener.Addr().String(), nil
}

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch service(r) {
	case "lambda":
		a.lambda(w, r)
	case "cloudformation":
		a.cloudFormation(w, r)
	case "monitoring":
		a.metrics(w, r)
	case "logs":
		a.logEvents(w, r)
	default:
		a.moto.ServeHTTP(w, r)
	}
}

// service returns the service for which a request is signed: …Credential=AKIA/20260313/us-east-1/lambda/aws4_request,
// ….
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-signing-elements.html
func service(r *http.Request) string {
	_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	scope, _, _ = strings.Cut(scope, ",")
	if parts := strings.Split(scope, "/"); len(parts) == 5 {
		return parts[3]
	}
	return ""
}

// maxAPIBodyBytes bounds the body of a request.
const maxAPIBodyBytes = 6 << 20

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAPIBodyBytes))
	if err != nil {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}
	return body, err == nil
}

// resource is one of the stack's resources, as CloudFormation lists them.
type resource struct {
	ID       string    `xml:"LogicalResourceId"`
	Physical string    `xml:"PhysicalResourceId"`
	Type     string    `xml:"ResourceType"`
	Status   string    `xml:"ResourceStatus"`
	Updated  time.Time `xml:"LastUpdatedTimestamp"`
}

type listing struct {
	XMLName   xml.Name   `xml:"http://cloudformation.amazonaws.com/doc/2010-05-15/ ListStackResourcesResponse"`
	Resources []resource `xml:"ListStackResourcesResult>StackResourceSummaries>member"`
}

// cloudFormation implements ListStackResources, the only action that siemctl needs.
// https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ListStackResources.html
func (a *api) cloudFormation(w http.ResponseWriter, r *http.Request) {
	body, ok := readBody(w, r)
	if !ok {
		return
	}
	form, _ := neturl.ParseQuery(string(body)) // an invalid body has no Action
	w.Header().Set("Content-Type", "text/xml")
	if form.Get("Action") != "ListStackResources" || form.Get("StackName") != StackName {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>Stack with id "+
			"%s does not exist</Message></Error></ErrorResponse>",
			escapeXML(form.Get("StackName")))
		return
	}
	_ = xml.NewEncoder(w).Encode(listing{Resources: a.cloud.resources()})
}

func escapeXML(text string) string {
	var out bytes.Buffer
	_ = xml.EscapeText(&out, []byte(text))
	return out.String()
}

// resources returns the deployed resources in the order of their logical ids.
func (c *Cloud) resources() []resource {
	var list []resource
	add := func(kind, id, physical string) {
		list = append(list, resource{ID: id, Physical: physical, Type: kind, Status: "CREATE_COMPLETE",
			Updated: time.Now().UTC()})
	}
	for _, id := range slices.Sorted(maps.Keys(c.made.queues)) {
		add(samtemplate.TypeQueue, id, c.made.queues[id].url)
	}
	for _, id := range slices.Sorted(maps.Keys(c.made.buckets)) {
		add(samtemplate.TypeBucket, id, c.made.buckets[id])
	}
	for _, id := range slices.Sorted(maps.Keys(c.made.secrets)) {
		add(samtemplate.TypeSecret, id, c.made.secrets[id])
	}
	for _, id := range slices.Sorted(maps.Keys(c.functions)) {
		add("AWS::Lambda::Function", id, functionName(id))
		add("AWS::Logs::LogGroup", strings.TrimSuffix(id, "Function")+"LogGroup", logGroup(id))
	}
	for _, id := range slices.Sorted(maps.Keys(c.pollers)) {
		add("AWS::Lambda::EventSourceMapping", id, id) // its UUID
	}
	return list
}
