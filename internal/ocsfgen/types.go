package ocsfgen

import "encoding/json"

// event is the union of the four classes, its fields in the order they are written.
type event struct {
	ClassUID       int             `json:"class_uid"`
	ClassName      string          `json:"class_name,omitempty"`
	CategoryUID    int             `json:"category_uid"`
	CategoryName   string          `json:"category_name,omitempty"`
	ActivityID     int             `json:"activity_id"`
	ActivityName   string          `json:"activity_name,omitempty"`
	TypeUID        int             `json:"type_uid"`
	Time           int64           `json:"time"`
	TimezoneOffset int             `json:"timezone_offset"`
	SeverityID     int             `json:"severity_id"`
	Severity       string          `json:"severity"`
	StatusID       int             `json:"status_id,omitempty"`
	Status         string          `json:"status,omitempty"`
	Message        json.RawMessage `json:"message"`
	Metadata       metadata        `json:"metadata"`
	Cloud          *cloud          `json:"cloud,omitempty"`
	Actor          *actor          `json:"actor,omitempty"`
	User           *user           `json:"user,omitempty"`
	API            *api            `json:"api,omitempty"`
	SrcEndpoint    *endpoint       `json:"src_endpoint,omitempty"`
	DstEndpoint    *endpoint       `json:"dst_endpoint,omitempty"`
	HTTPRequest    *httpRequest    `json:"http_request,omitempty"`
	Duration       int             `json:"duration,omitempty"`
	Finding        *finding        `json:"finding,omitempty"`
	StateID        int             `json:"state_id,omitempty"`
	State          string          `json:"state,omitempty"`
	ConfidenceID   int             `json:"confidence_id,omitempty"`
	Confidence     string          `json:"confidence,omitempty"`
	Analytic       *analytic       `json:"analytic,omitempty"`
	Service        *service        `json:"service,omitempty"`
	AuthProtocolID int             `json:"auth_protocol_id,omitempty"`
	AuthProtocol   string          `json:"auth_protocol,omitempty"`
	LogonTypeID    int             `json:"logon_type_id,omitempty"`
	LogonType      string          `json:"logon_type,omitempty"`
	IsMFA          *bool           `json:"is_mfa,omitempty"`
	IsRemote       *bool           `json:"is_remote,omitempty"`
	Entity         *entity         `json:"entity,omitempty"`
	Comment        json.RawMessage `json:"comment,omitempty"`
	Resources      []resource      `json:"resources,omitempty"`
	Unmapped       *unmapped       `json:"unmapped"`
}

type metadata struct {
	UID        string   `json:"uid"`
	Version    string   `json:"version"`
	Profiles   []string `json:"profiles,omitempty"`
	Product    product  `json:"product"`
	TenantUID  string   `json:"tenant_uid"`
	LoggedTime int64    `json:"logged_time"`
}

type product struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
	Version    string `json:"version"`
}

type cloud struct {
	Provider string `json:"provider"`
	Region   string `json:"region"`
}

type actor struct {
	User      *user    `json:"user"`
	Session   *session `json:"session,omitempty"`
	InvokedBy string   `json:"invoked_by,omitempty"`
}

type user struct {
	UID       string  `json:"uid"`
	Name      string  `json:"name"`
	FullName  string  `json:"full_name,omitempty"`
	EmailAddr string  `json:"email_addr,omitempty"`
	Groups    []group `json:"groups,omitempty"`
}

type group struct {
	UID  string `json:"uid"`
	Name string `json:"name"`
}

type session struct {
	UID    string `json:"uid"`
	Issuer string `json:"issuer"`
	IsMFA  bool   `json:"is_mfa"`
}

type api struct {
	Operation string    `json:"operation"`
	Version   string    `json:"version"`
	Request   *request  `json:"request"`
	Response  *response `json:"response"`
}

type service struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
}

type request struct {
	UID string `json:"uid"`
}

type response struct {
	Code int `json:"code"`
}

type endpoint struct {
	IP       string `json:"ip,omitempty"`
	Hostname string `json:"hostname,omitempty"`
	SvcName  string `json:"svc_name,omitempty"`
	Port     int    `json:"port"`
}

type httpRequest struct {
	Method    string `json:"http_method"`
	UserAgent string `json:"user_agent"`
	URL       *url   `json:"url"`
}

type url struct {
	Scheme   string `json:"scheme"`
	Hostname string `json:"hostname"`
	Path     string `json:"path"`
}

type finding struct {
	UID         string          `json:"uid"`
	Title       string          `json:"title"`
	Desc        json.RawMessage `json:"desc"`
	Types       []string        `json:"types"`
	CreatedTime int64           `json:"created_time"`
}

type analytic struct {
	Name   string `json:"name"`
	UID    string `json:"uid"`
	Type   string `json:"type"`
	TypeID int    `json:"type_id"`
}

type entity struct {
	UID     string `json:"uid"`
	Name    string `json:"name"`
	Type    string `json:"type"`
	Version string `json:"version"`
}

type resource struct {
	UID    string   `json:"uid"`
	Type   string   `json:"type"`
	Labels []string `json:"labels,omitempty"`
	Owner  *user    `json:"owner,omitempty"`
}

// unmapped holds what OCSF 1.1.0 has no attribute for.
type unmapped struct {
	ModelID      string          `json:"model_id,omitempty"`
	PolicyAction string          `json:"policy_action"`
	DLPLabels    []string        `json:"dlp_labels"`
	TokensInput  int             `json:"tokens_input"`
	TokensOutput int             `json:"tokens_output"`
	CostUSD      json.Number     `json:"cost_usd"`
	SpanID       json.Number     `json:"span_id"`
	PolicyRef    json.RawMessage `json:"policy_ref"`
	GroupIDs     []string        `json:"group_ids,omitempty"`
	Excerpt      string          `json:"excerpt,omitempty"`
}
