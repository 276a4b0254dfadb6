package secrets

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// ServiceAccount is where Kubernetes mounts the token of a pod's ServiceAccount.
	ServiceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"
	// apiTimeout bounds one request to the API server.
	apiTimeout = 5 * time.Second
	// maxSecret is more than Kubernetes keeps of one (1 MiB), in the form that it is sent in.
	maxSecret = 4 << 20
)

// Cluster reads and writes the Secrets of one namespace of Kubernetes, as the
// ServiceAccount of this pod may. It speaks the two requests that this takes itself:
// Kubernetes's own client would be most of the program. It is safe for concurrent use.
type Cluster struct {
	base      string
	namespace string
	token     string // the file: Kubernetes renews what is in it
	client    *http.Client
}

// InCluster returns the cluster that this process runs in, by what Kubernetes puts into
// each pod: its environment, and the folder of the ServiceAccount.
func InCluster() (*Cluster, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("secrets: this is no pod of Kubernetes: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
	}
	return NewCluster("https://"+net.JoinHostPort(host, port), ServiceAccount)
}

// NewCluster returns the cluster with that API server. account is a folder with the
// files token, ca.crt and namespace.
func NewCluster(server, account string) (*Cluster, error) {
	namespace, err := os.ReadFile(filepath.Join(account, "namespace"))
	if err != nil {
		return nil, fmt.Errorf("secrets: the pod has no token of a ServiceAccount; let it be mounted (automountServiceAccountToken): %w", err)
	}
	authorities, err := os.ReadFile(filepath.Join(account, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("secrets: certificate of the API server's CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("secrets: %s has no certificate", filepath.Join(account, "ca.crt"))
	}
	return &Cluster{
		base: server, namespace: strings.TrimSpace(string(namespace)), token: filepath.Join(account, "token"),
		client: &http.Client{
			Timeout: apiTimeout,
			Transport: &http.Transport{
				TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
				MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second,
			},
		},
	}, nil
}

// Namespace returns the namespace that the Secrets are in.
func (c *Cluster) Namespace() string { return c.namespace }

// Close ends the connections that are kept for the next request.
func (c *Cluster) Close() { c.client.CloseIdleConnections() }

// Object is a Secret with what is needed of its metadata.
type Object struct {
	Name    string
	Labels  map[string]string
	Type    string
	Data    map[string][]byte
	Version string // as the API server has it; empty for a new one
}

// object is an Object as Kubernetes writes it.
type object struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   metadata          `json:"metadata"`
	Type       string            `json:"type,omitempty"`
	Data       map[string][]byte `json:"data,omitempty"`
}

type metadata struct {
	Name            string            `json:"name"`
	Labels          map[string]string `json:"labels,omitempty"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
}

// apiError is a refusal of the API server's.
type apiError struct {
	code           int
	reason, detail string
}

func (e *apiError) Error() string {
	return fmt.Sprintf("the API server answers %d %s: %s", e.code, e.reason, e.detail)
}

// Get returns a Secret; ErrNotFound where there is none.
func (c *Cluster) Get(ctx context.Context, name string) (Object, error) {
	if err := validName(name); err != nil {
		return Object{}, err
	}
	return c.do(ctx, http.MethodGet, "/"+name, nil)
}

// Create makes a Secret and reports whether it did: false where one is there by that
// name, which it leaves as it is.
func (c *Cluster) Create(ctx context.Context, o Object) (bool, error) {
	if err := validName(o.Name); err != nil {
		return false, err
	}
	_, err := c.do(ctx, http.MethodPost, "", &o)
	var refused *apiError
	if errors.As(err, &refused) && refused.code == http.StatusConflict {
		return false, nil
	}
	return err == nil, err
}

// Replace writes a Secret in place of the one that Get returned; where that has changed
// since it is refused.
func (c *Cluster) Replace(ctx context.Context, o Object) error {
	if err := validName(o.Name); err != nil {
		return err
	}
	_, err := c.do(ctx, http.MethodPut, "/"+o.Name, &o)
	return err
}

// do asks the API server. Its errors hold what the server says of the request, which is
// no value of a Secret.
func (c *Cluster) do(ctx context.Context, method, path string, send *Object) (Object, error) {
	var body io.Reader = http.NoBody
	name := strings.TrimPrefix(path, "/")
	if send != nil {
		name = send.Name
		data, err := json.Marshal(object{
			APIVersion: "v1", Kind: "Secret", Type: send.Type, Data: send.Data,
			Metadata: metadata{Name: send.Name, Labels: send.Labels, ResourceVersion: send.Version},
		})
		if err != nil {
			return Object{}, err
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1/namespaces/"+c.namespace+"/secrets"+path, body)
	if err != nil {
		return Object{}, err
	}
	token, err := os.ReadFile(c.token)
	if err != nil {
		return Object{}, fmt.Errorf("secret %q: token of the ServiceAccount: %w", name, err)
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	request.Header.Set("Accept", "application/json")
	if send != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.client.Do(request)
	if err != nil {
		return Object{}, fmt.Errorf("secret %q: %w", name, err)
	}
	defer response.Body.Close()
	return read(response, name)
}

func read(response *http.Response, name string) (Object, error) {
	data, err := io.ReadAll(io.LimitReader(response.Body, maxSecret))
	if err != nil {
		return Object{}, fmt.Errorf("secret %q: %w", name, err)
	}
	if response.StatusCode == http.StatusNotFound {
		return Object{}, notFound(name)
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		var status struct {
			Reason  string `json:"reason"`
			Message string `json:"message"`
		}
		_ = json.Unmarshal(data, &status) // what is not from the API server has neither
		return Object{}, fmt.Errorf("secret %q: %w", name, &apiError{response.StatusCode, status.Reason, status.Message})
	}
	var found object
	if err := json.Unmarshal(data, &found); err != nil || found.Kind != "Secret" {
		return Object{}, fmt.Errorf("secret %q: what answers is no API server of Kubernetes: it sends no Secret", name)
	}
	return Object{
		Name: found.Metadata.Name, Labels: found.Metadata.Labels, Version: found.Metadata.ResourceVersion, Type: found.Type, Data: found.Data,
	}, nil
}
