package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/peppasync/peppasync/test/cluster/binaries"
	"github.com/peppasync/peppasync/test/cluster/progress"
)

const (
	// serviceRange has the addresses of Services; the first is the API server's.
	serviceRange   = "10.96.0.0/16"
	serviceAddress = "10.96.0.1"
	// portTries is how often free ports are looked for: another process may take
	// one between the look and the start.
	portTries = 3
	apiStart  = 90 * time.Second
)

// APIServer is etcd and kube-apiserver on free ports of the loopback: resources,
// validation, admission and watches are real, and nothing acts upon them.
type APIServer struct {
	etcd, server *component
	kubeconfig   string
}

// StartAPIServer starts both, with their data, keys and logs in dir, which has
// to be empty or not there yet.
func StartAPIServer(ctx context.Context, dir string, out io.Writer) (*APIServer, error) {
	log := progress.New(out)
	store, err := binaries.Open(ctx, log)
	if err != nil {
		return nil, err
	}
	built, err := store.GetAll(ctx, "etcd", "kube-apiserver")
	if err != nil {
		return nil, err
	}
	if dir, err = claim(dir); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		a, err := startAPIServer(ctx, log, built, filepath.Join(dir, fmt.Sprintf("try-%d", try)))
		var ended *endedError
		if err == nil || try == portTries || !errors.As(err, &ended) || !strings.Contains(ended.tail, "address already in use") {
			return a, err
		}
		log.Sayf("a port was taken meanwhile, trying others")
	}
}

func startAPIServer(ctx context.Context, log *progress.Log, built map[string]string, dir string) (*APIServer, error) {
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	keys, err := newIdentity(filepath.Join(dir, "keys"), "none")
	if err != nil {
		return nil, err
	}
	if err := keys.issueServer("kube-apiserver", []string{"localhost"}, "127.0.0.1"); err != nil {
		return nil, err
	}
	a := &APIServer{kubeconfig: filepath.Join(dir, "kubeconfig")}
	address := "127.0.0.1:" + ports[2]
	if err := keys.writeKubeconfig(a.kubeconfig, "admin", "https://"+address); err != nil {
		return nil, err
	}
	etcd := exec.CommandContext(context.WithoutCancel(ctx), built["etcd"], etcdFlags(dir, ports[0], ports[1])...)
	if a.etcd, err = startComponent(dir, "etcd", false, etcd); err != nil {
		return nil, err
	}
	flags := append(apiserverFlags(keys, ports[0], ports[2]),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		// Nobody reaches the server by its Service, and the endpoint of one may
		// not be a loopback address.
		"--endpoint-reconciler-type=none",
		// Nobody makes the account that this would give to each pod.
		"--disable-admission-plugins=ServiceAccount",
	)
	server := exec.CommandContext(context.WithoutCancel(ctx), built["kube-apiserver"], flags...)
	if a.server, err = startComponent(dir, "kube-apiserver", false, server); err != nil {
		return nil, errors.Join(err, a.Stop())
	}
	err = log.Do("waiting until the API server is ready", func() error {
		ctx, cancel := context.WithTimeoutCause(ctx, apiStart, fmt.Errorf("not ready within %v", apiStart))
		defer cancel()
		client := keys.client((&net.Dialer{}).DialContext)
		defer client.CloseIdleConnections()
		return until(ctx, []*component{a.etcd, a.server}, func(ctx context.Context) error {
			return keys.askReady(ctx, client, address)
		})
	})
	if err != nil {
		return nil, errors.Join(err, a.Stop())
	}
	return a, nil
}

// Kubeconfig is the path of a file by which one signs in as an administrator.
func (a *APIServer) Kubeconfig() string { return a.kubeconfig }

// Ended is closed when one of the two has ended without being asked to.
func (a *APIServer) Ended() <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-a.etcd.ended:
		case <-a.server.ended:
		}
	}()
	return ended
}

// Stop ends both; their folder stays. It may be called twice.
func (a *APIServer) Stop() error {
	var failed []error
	for _, c := range []*component{a.server, a.etcd} {
		if c != nil {
			failed = append(failed, c.stop())
		}
	}
	return errors.Join(failed...)
}

// etcdFlags leave out the fsync: a test's cluster does not outlive the machine,
// and the disk is what the product under test needs.
func etcdFlags(dir, client, peer string) []string {
	return []string{
		"--name=peppasync",
		"--data-dir=" + filepath.Join(dir, "etcd"),
		"--unsafe-no-fsync",
		"--listen-client-urls=http://127.0.0.1:" + client,
		"--advertise-client-urls=http://127.0.0.1:" + client,
		"--listen-peer-urls=http://127.0.0.1:" + peer,
		"--initial-advertise-peer-urls=http://127.0.0.1:" + peer,
		"--initial-cluster=peppasync=http://127.0.0.1:" + peer,
	}
}

// apiserverFlags are those of a server by itself and of a node's.
func apiserverFlags(keys *identity, etcd, port string) []string {
	return []string{
		"--etcd-servers=http://127.0.0.1:" + etcd,
		"--secure-port=" + port,
		"--tls-cert-file=" + keys.file("kube-apiserver.crt"),
		"--tls-private-key-file=" + keys.file("kube-apiserver.key"),
		"--client-ca-file=" + keys.file("ca.crt"),
		"--token-auth-file=" + keys.file("tokens.csv"),
		"--authorization-mode=Node,RBAC",
		"--service-cluster-ip-range=" + serviceRange,
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-signing-key-file=" + keys.file("service-accounts.key"),
		"--service-account-key-file=" + keys.file("service-accounts.pub"),
		"--allow-privileged=true",
		"--profiling=false",
	}
}

// client speaks to the API server as an administrator.
func (i *identity) client(dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(i.ca)
	return &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DialContext:     dial,
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
		},
	}
}

func (i *identity) askReady(ctx context.Context, client *http.Client, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/readyz", nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+i.tokens["admin"])
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, 2048))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %s", request.URL, response.Status, strings.Join(strings.Fields(string(said)), " "))
	}
	return nil
}

// claim makes the folder and returns its full path. Of a cluster that ended only
// logs are left, which make room; a folder that holds anything else may be a
// running one's.
func claim(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(entries) == 1 && entries[0].Name() == logFolder {
		return dir, os.RemoveAll(filepath.Join(dir, logFolder))
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("%s is not empty: stop what runs in it and remove it, or name another folder", dir)
	}
	return dir, nil
}

// freePorts returns ports that nobody listens on at this moment.
func freePorts(n int) ([]string, error) {
	ports := make([]string, 0, n)
	var listeners []net.Listener
	defer func() {
		for _, listener := range listeners {
			_ = listener.Close()
		}
	}()
	for range n {
		listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, listener) // open until the last is found, or one would be found twice
		_, port, err := net.SplitHostPort(listener.Addr().String())
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}
