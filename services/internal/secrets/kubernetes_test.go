package secrets

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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

// Webhooks come with little time. One that gives up must neither wait for the question of
// another nor take its answer away.
func TestKubernetesWaitsNoLongerThanItsCaller(t *testing.T) {
	arrived, answer := make(chan struct{}, 8), make(chan struct{})
	cluster := api(t, func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-answer
		_, _ = w.Write([]byte(`{"kind":"Secret","metadata":{"name":"erp"},"data":{"key":"dDE="}}`))
	})
	release := sync.OnceFunc(func() { close(answer) })
	t.Cleanup(release) // before the server is closed
	r := Kubernetes(cluster)
	type reading struct {
		secret map[string]string
		err    error
	}
	patient, hasty := make(chan reading, 1), make(chan error, 2)
	ctx, giveUp := context.WithCancel(t.Context())
	ask := func() {
		_, err := r.Secret(ctx, "erp")
		hasty <- err
	}
	go ask()
	<-arrived
	go ask()
	go func() {
		secret, err := r.Secret(t.Context(), "erp")
		patient <- reading{secret, err}
	}()
	giveUp()
	for range 2 {
		select {
		case err := <-hasty:
			if !errors.Is(err, context.Canceled) || errors.Is(err, ErrNotFound) {
				t.Errorf("who gave up got %v", err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("who gave up still waits for the API server")
		}
	}
	release()
	got := <-patient
	if got.err != nil {
		t.Fatalf("who was patient got %v", got.err)
	}
	equal(t, got.secret, map[string]string{"key": "t1"})
	equal(t, secret(t, r, "erp"), map[string]string{"key": "t1"})
	if n := len(arrived); n != 0 {
		t.Errorf("the API server was asked %d times more than once", n)
	}
}

func TestKubernetesRemembersThatThereIsNone(t *testing.T) {
	for name, refusal := range map[string]error{"not there": notFound("erp"), "not granted": &apiError{code: http.StatusForbidden}} {
		synctest.Test(t, func(t *testing.T) {
			cluster := &served{err: refusal}
			r := Kubernetes(cluster)
			refused := func(asked int) {
				for range 1000 {
					if _, err := r.Secret(t.Context(), "erp"); !errors.Is(err, refusal) {
						t.Fatalf("%s: %v", name, err)
					}
				}
				if cluster.asked != asked {
					t.Errorf("%s: it was asked %d times, want %d", name, cluster.asked, asked)
				}
			}
			refused(1)
			time.Sleep(clusterAbsent)
			refused(2)
			cluster.data, cluster.err = map[string][]byte{"key": []byte("made")}, nil
			time.Sleep(clusterAbsent)
			equal(t, secret(t, r, "erp"), map[string]string{"key": "made"})
		})
	}
}

func TestKubernetesForgetsTheNamesOfWhatIsNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := &served{data: map[string][]byte{"key": []byte("used")}}
		r := Kubernetes(cluster)
		secret(t, r, "used")
		cluster.err = notFound("gone")
		for i := range 3 * maxClusterKnown {
			if _, err := r.Secret(t.Context(), "gone-"+strconv.Itoa(i)); err == nil {
				t.Fatal("there is none")
			}
			if i%maxClusterKnown == 0 {
				time.Sleep(clusterAbsent)
			}
		}
		known := r.(*kubernetes).known
		if len(known) > 2*maxClusterKnown || known["used"] == nil {
			t.Errorf("%d names are kept, that of the one in use: %v", len(known), known["used"] != nil)
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
