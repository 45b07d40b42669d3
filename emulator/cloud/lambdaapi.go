package cloud

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
)

// lambda implements the actions of Lambda that siemctl needs: Invoke, GetFunctionConfiguration, GetFunctionUrlConfig,
// and those that read, enable and disable event source mappings, whose UUIDs are their logical ids.
// https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html
func (a *api) lambda(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/") // version, collection, name, property
	if len(parts) < 3 {
		lambdaError(w, http.StatusNotFound, "ResourceNotFoundException", "nothing local has the path "+r.URL.Path)
		return
	}
	collection, name, what := parts[1], parts[2], ""
	if len(parts) > 3 {
		what = parts[3]
	}
	switch {
	case collection == "tags":
		a.tags(w, r, name)
	case collection == "event-source-mappings":
		a.mapping(w, r, name)
	case collection == "functions" && what == "invocations" && r.Method == http.MethodPost:
		a.invoke(w, r, name)
	case collection == "functions" && what == "configuration" && r.Method == http.MethodGet:
		a.configuration(w, name)
	case collection == "functions" && what == "url" && r.Method == http.MethodGet:
		a.functionURL(w, name)
	default:
		lambdaError(w, http.StatusNotFound, "ResourceNotFoundException", "nothing local answers "+r.Method+" "+r.URL.Path)
	}
}

func lambdaError(w http.ResponseWriter, status int, kind, text string) {
	w.Header().Set("X-Amzn-ErrorType", kind)
	lambdaAnswer(w, status, map[string]string{"Type": "User", "Message": text})
}

func lambdaAnswer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// byName returns the logical id of the function with that name, "" if there is none.
func (c *Cloud) byName(name string) string {
	for id := range c.functions {
		if functionName(id) == name || functionARN(id) == name {
			return id
		}
	}
	return ""
}

func (a *api) noFunction(w http.ResponseWriter, name string) {
	lambdaError(w, http.StatusNotFound, "ResourceNotFoundException", "Function not found: "+name)
}

// invoke implements Invoke, always with the type RequestResponse.
func (a *api) invoke(w http.ResponseWriter, r *http.Request, name string) {
	id := a.cloud.byName(name)
	if id == "" {
		a.noFunction(w, name)
		return
	}
	payload, ok := readBody(w, r)
	if !ok {
		return
	}
	result, err := a.cloud.Invoke(r.Context(), id, payload)
	if err != nil {
		lambdaError(w, http.StatusInternalServerError, "ServiceException", err.Error())
		return
	}
	w.Header().Set("X-Amzn-Requestid", result.RequestID)
	w.Header().Set("X-Amz-Executed-Version", "$LATEST")
	if result.Error != nil {
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
	}
	_, _ = w.Write(result.Payload)
}

func (a *api) configuration(w http.ResponseWriter, name string) {
	id := a.cloud.byName(name)
	f, err := a.cloud.template.Function(id, a.cloud.made)
	if err != nil {
		a.noFunction(w, name)
		return
	}
	maps.Copy(f.Environment, a.cloud.o.Environment[id])
	lambdaAnswer(w, http.StatusOK, map[string]any{
		"FunctionName": name, "FunctionArn": functionARN(id), "Environment": map[string]any{"Variables": f.Environment},
		"MemorySize": f.MemoryMB, "Timeout": int(f.Timeout.Seconds()),
	})
}

func (a *api) functionURL(w http.ResponseWriter, name string) {
	id := a.cloud.byName(name)
	base := a.cloud.URL(id)
	if base == "" {
		a.noFunction(w, name)
		return
	}
	lambdaAnswer(w, http.StatusOK, map[string]string{
		"FunctionUrl": base + "/", "FunctionArn": functionARN(id), "AuthType": "AWS_IAM", "InvokeMode": "BUFFERED",
	})
}
