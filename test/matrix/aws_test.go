package matrix

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

const (
	ownQueue  = "https://sqs.test/123456789012/own"
	deadQueue = "https://sqs.test/123456789012/dead"
	secretID  = "matrix"
)

// account is SQS and Secrets Manager, as one function uses them.
type account struct {
	*httptest.Server

	secret string // JSON

	mu          sync.Mutex
	waits       map[string]int // seconds, by receipt
	deadLetters []deadLetter
	reads       int  // of the secret
	hang        bool // after the first read of the secret
	wrong       []string
}

// deadLetter is a message on the dead-letter queue.
type deadLetter struct {
	body       string
	attributes map[string]string
}

func newAccount(secret string, hang bool) *account {
	a := &account{secret: secret, hang: hang, waits: map[string]int{}}
	a.Server = httptest.NewServer(a)
	return a
}

// call is a request of any of the three operations.
type call struct {
	QueueUrl, SecretId string //nolint:revive // AWS's own names
	Entries            []struct {
		Id, ReceiptHandle, MessageBody string //nolint:revive // as above
		VisibilityTimeout              int
		MessageAttributes              map[string]struct{ DataType, StringValue string }
	}
}

// ServeHTTP answers in AWS's JSON protocol, whose header names the operation.
func (a *account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var c call
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &c)
	}
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if operation == "GetSecretValue" && a.hangs() {
		<-r.Context().Done()
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var response any
	switch {
	case err == nil && operation == "GetSecretValue" && c.SecretId == secretID:
		a.reads++
		response = map[string]string{"Name": c.SecretId, "SecretString": a.secret, "ARN": "arn", "VersionId": "v"}
	case err == nil && operation == "ChangeMessageVisibilityBatch" && c.QueueUrl == ownQueue:
		response = a.change(&c)
	case err == nil && operation == "SendMessageBatch" && c.QueueUrl == deadQueue:
		response = a.send(&c)
	default:
		a.wrong = append(a.wrong, operation+" "+c.QueueUrl+c.SecretId)
		w.WriteHeader(http.StatusBadRequest)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	_ = json.NewEncoder(w).Encode(response) // fails only if the function has ended
}

// hangs reports whether a read of the secret gets no response.
func (a *account) hangs() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.hang || a.reads == 0 {
		return false
	}
	a.reads++
	return true
}

type done struct{ Successful, Failed []map[string]string }

func (a *account) change(c *call) done {
	d := done{Failed: []map[string]string{}}
	for _, e := range c.Entries {
		a.waits[e.ReceiptHandle] = e.VisibilityTimeout
		d.Successful = append(d.Successful, map[string]string{"Id": e.Id})
	}
	return d
}

func (a *account) send(c *call) done {
	d := done{Failed: []map[string]string{}}
	for _, e := range c.Entries {
		l := deadLetter{body: e.MessageBody, attributes: map[string]string{}}
		for name, v := range e.MessageAttributes {
			l.attributes[name] = v.StringValue
		}
		a.deadLetters = append(a.deadLetters, l)
		sum := md5.Sum([]byte(e.MessageBody))
		d.Successful = append(d.Successful, map[string]string{"Id": e.Id, "MessageId": "m" + e.Id,
			"MD5OfMessageBody": hex.EncodeToString(sum[:])})
	}
	return d
}
