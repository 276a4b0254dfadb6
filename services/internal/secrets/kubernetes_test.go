package secrets

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// api is what an API server does for one namespace, by HTTP.
func api(t *testing.T, handler http.HandlerFunc) *Cluster {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	account := t.TempDir()
	write(t, filepath.Join(account, "namespace"), "shop\n")
	write(t, filepath.Join(account, "token"), "first")
	write(t, filepath.Join(account, "ca.crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	cluster, err := NewCluster(server.URL, account)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster
}

func TestKubernetesReadsASecretByItsName(t *testing.T) {
	var asked atomic.Value
	cluster := api(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Method + " " + r.URL.Path + " " + r.Header.Get("Authorization"))
		_, _ = w.Write([]byte(`{"kind":"Secret","metadata":{"name":"erp"},"data":{"accessToken":"dDE=","two":"YQ0K"}}`))
	})
	equal(t, secret(t, Kubernetes(cluster), "erp"), map[string]string{"accessToken": "t1", "two": "a"})
	if got := asked.Load(); got != "GET /api/v1/namespaces/shop/secrets/erp Bearer first" {
		t.Errorf("asked %q", got)
	}
	// A token is renewed about each hour, in its file.
	write(t, cluster.token, "second\n")
	equal(t, secret(t, Kubernetes(cluster), "erp"), map[string]string{"accessToken": "t1", "two": "a"})
	if got := asked.Load(); got != "GET /api/v1/namespaces/shop/secrets/erp Bearer second" {
		t.Errorf("asked %q", got)
	}
	for _, name := range []string{"", "..", "../pods", "a/b", "Erp", "a%2fb"} {
		if _, err := Kubernetes(cluster).Secret(t.Context(), name); err == nil {
			t.Errorf("%q is taken for a name", name)
		}
	}
}

func TestKubernetesSaysWhatTheAPIServerSays(t *testing.T) {
	for name, test := range map[string]struct {
		code  int
		body  string
		want  string
		found bool
	}{
		"not there":     {404, `{"kind":"Status","reason":"NotFound","message":"secrets \"erp\" not found"}`, "secret not found", false},
		"without keys":  {200, `{"kind":"Secret","metadata":{"name":"erp"}}`, "secret not found", false},
		"not granted":   {403, `{"kind":"Status","reason":"Forbidden","message":"cannot get resource \"secrets\""}`, "403 Forbidden: cannot get", true},
		"no API server": {200, `<html>hunter2</html>`, "no API server", true},
		"out of order":  {500, `hunter2`, "500", true},
	} {
		cluster := api(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(test.code)
			_, _ = w.Write([]byte(test.body))
		})
		_, err := Kubernetes(cluster).Secret(t.Context(), "erp")
		if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, ErrNotFound) == test.found {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: what was sent is in the error: %v", name, err)
		}
	}
}

// served answers in place of a cluster, by a clock that a test moves.
type served struct {
	data  map[string][]byte
	err   error
	asked int
}

func (s *served) Get(context.Context, string) (Object, error) {
	s.asked++
	return Object{Data: s.data}, s.err
}

func TestKubernetesAsksSeldomAndOutlastsItsAPIServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := &served{data: map[string][]byte{"key": []byte("old")}}
		r := Kubernetes(cluster)
		for range 1000 {
			secret(t, r, "erp")
		}
		if cluster.asked != 1 {
			t.Errorf("1,000 uses at once asked %d times", cluster.asked)
		}
		cluster.data = map[string][]byte{"key": []byte("new")}
		time.Sleep(clusterFresh)
		equal(t, secret(t, r, "erp"), map[string]string{"key": "new"})

		cluster.err = errors.New("connection refused")
		time.Sleep(clusterStale - time.Hour)
		equal(t, secret(t, r, "erp"), map[string]string{"key": "new"})
		time.Sleep(2 * time.Hour)
		if _, err := r.Secret(t.Context(), "erp"); err == nil {
			t.Error("a secret that nobody could look at for a day is still used")
		}
		cluster.err = nil
		equal(t, secret(t, r, "erp"), map[string]string{"key": "new"})

		cluster.err = &apiError{code: http.StatusForbidden}
		time.Sleep(clusterFresh)
		if _, err := r.Secret(t.Context(), "erp"); err == nil {
			t.Error("a secret whose grant was taken away is still used")
		}
	})
}

func TestClusterWritesOnlyWhatIsNotThere(t *testing.T) {
	cluster := api(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/api/v1/namespaces/shop/secrets" {
			t.Errorf("asked %s %s", r.Method, r.URL.Path)
		}
		w.WriteHeader(http.StatusConflict)
		_, _ = w.Write([]byte(`{"kind":"Status","reason":"AlreadyExists"}`))
	})
	if made, err := cluster.Create(t.Context(), Object{Name: "erp"}); made || err != nil {
		t.Errorf("one that is there: %v, %v", made, err)
	}
}
