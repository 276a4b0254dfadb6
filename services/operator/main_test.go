package operator_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/peppasync/peppasync/services/api/crd"
	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// startTimeout is how long the API server may take, where its programs have to be built
// first too.
const startTimeout = 25 * time.Minute

// api is a real API server with our definitions, shared by all tests of the package: each
// has a namespace of its own.
var api struct {
	config *rest.Config
	client client.Client
}

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // each operator has its own
	os.Exit(func() int {
		if code := runAll(m); code != 0 {
			return code
		}
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "all tests have ended, and these goroutines have not:", err)
			return 1
		}
		return 0
	}())
}

func runAll(m *testing.M) int {
	stop, err := startAPI()
	defer stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "no API server:", err)
		return 1
	}
	return m.Run()
}

func startAPI() (stop func(), err error) {
	dir, err := os.MkdirTemp("", "peppasync-operator")
	if err != nil {
		return func() {}, err
	}
	stop = func() { _ = os.RemoveAll(dir) }
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	program := filepath.Join(dir, "peppasync-cluster")
	fmt.Fprintln(os.Stderr, "starting etcd and kube-apiserver; where they are not in the cache they are built first, which takes some ten minutes")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./peppasync-cluster")
	build.Dir, build.Env = filepath.Join("..", "..", "test", "cluster"), append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		cancel()
		return stop, fmt.Errorf("build peppasync-cluster: %w\n%s", err, out)
	}
	server := exec.CommandContext(ctx, program, "api", "--dir", filepath.Join(dir, "api"))
	server.Stderr = os.Stderr
	in, err := server.StdinPipe()
	if err != nil {
		cancel()
		return stop, err
	}
	out, err := server.StdoutPipe()
	if err != nil {
		cancel()
		return stop, err
	}
	if err := server.Start(); err != nil {
		cancel()
		return stop, err
	}
	stop = func() {
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out)
		_ = server.Wait()
		cancel()
		_ = os.RemoveAll(dir)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return stop, fmt.Errorf("peppasync-cluster says no kubeconfig: %w", err)
	}
	return stop, prepare(ctx, strings.TrimSpace(line))
}

// prepare installs the definitions and waits until they are served.
func prepare(ctx context.Context, kubeconfig string) error {
	var err error
	if api.config, err = clientcmd.BuildConfigFromFlags("", kubeconfig); err != nil {
		return err
	}
	api.config.QPS, api.config.Burst = 500, 500
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	if api.client, err = client.New(api.config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	for _, definition := range definitions() {
		if err := api.client.Create(ctx, &definition); err != nil {
			return fmt.Errorf("install %s: %w", definition.Name, err)
		}
		err := poll(ctx, func(ctx context.Context) error {
			var found apiextensionsv1.CustomResourceDefinition
			if err := api.client.Get(ctx, client.ObjectKey{Name: definition.Name}, &found); err != nil {
				return err
			}
			for _, c := range found.Status.Conditions {
				if c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue {
					return nil
				}
			}
			return fmt.Errorf("%s is not served yet: %v", definition.Name, found.Status.Conditions)
		})
		if err != nil {
			return err
		}
	}
	// Discovery is behind the definition by a moment.
	return poll(ctx, func(ctx context.Context) error {
		return api.client.List(ctx, &v1alpha1.NotificationPolicyList{})
	})
}

func definitions() []apiextensionsv1.CustomResourceDefinition {
	entries, err := crd.Files.ReadDir(".")
	if err != nil {
		panic(err)
	}
	var all []apiextensionsv1.CustomResourceDefinition
	for _, entry := range entries {
		data, err := crd.Files.ReadFile(entry.Name())
		if err != nil {
			panic(err)
		}
		var definition apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(data, &definition); err != nil {
			panic(err)
		}
		all = append(all, definition)
	}
	return all
}

// patience bounds what a test waits for, on a busy machine.
const patience = 60 * time.Second

// poll asks until there is no error, or patience ends.
func poll(ctx context.Context, ask func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // not what the end of patience makes of it
		}
		select {
		case <-ctx.Done():
			return last
		case <-tick.C:
		}
	}
}
