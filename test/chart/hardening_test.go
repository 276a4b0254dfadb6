package chart

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// With null for its numbers no pod asks for a user or a group, which OpenShift's
// restricted-v2 would refuse; else all are as one, and read what is mounted by their group.
func TestNumbersOfUsersCanBeTheClusters(t *testing.T) {
	t.Parallel()
	number := int64(65532)
	large := int64(1000680000)
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte("podSecurityContext: {runAsUser: 1000680000, runAsGroup: 1000680000, fsGroup: 1000680000}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		flags []string
		want  *int64
	}{
		"by default":     {nil, &number},
		"null in a file": {variants["openshift"], nil},
		"null by a flag": {[]string{"--set", "podSecurityContext.runAsUser=null,podSecurityContext.runAsGroup=null,podSecurityContext.fsGroup=null"}, nil},
		"a large number": {[]string{"-f", file}, &large},
		"--reuse-values": {[]string{"--set", "podSecurityContext=null"}, &number}, // of a release that had no such value
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all, err := Render(t.Context(), helm, chartFolder, test.flags...)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range workloads(t, all) {
				context := w.pod.Spec.SecurityContext
				if got, want := []*int64{context.RunAsUser, context.RunAsGroup, context.FSGroup}, []*int64{test.want, test.want, test.want}; !cmp.Equal(got, want) {
					t.Errorf("%s: %s", w.name, cmp.Diff(want, got))
				}
				if context.RunAsNonRoot == nil || !*context.RunAsNonRoot {
					t.Errorf("%s may be root", w.name)
				}
			}
		})
	}
}

// Names are asked for at pods of the cluster's DNS, and at node-local-dns, which is a node.
func TestNamesMayBeAskedForOnTheNode(t *testing.T) {
	t.Parallel()
	for flag, want := range map[string][]string{
		"":                                       {"169.254.20.10/32"},
		"networkPolicy.dnsCIDRs={10.96.0.10/32}": {"10.96.0.10/32"},
		"networkPolicy.dnsCIDRs=null":            nil,
	} {
		t.Run(flag, func(t *testing.T) {
			t.Parallel()
			all, err := Render(t.Context(), helm, chartFolder, "--set", flag)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range all {
				if m.Name() != "NetworkPolicy/peppasync-default-deny" {
					continue
				}
				for _, rule := range as[networkingv1.NetworkPolicy](t, m).Spec.Egress {
					for _, port := range rule.Ports {
						if port.Port.IntValue() != 53 {
							t.Errorf("port %s is open, too", port.Port)
						}
					}
					for _, to := range rule.To {
						if to.IPBlock != nil {
							got = append(got, to.IPBlock.CIDR)
						}
					}
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// A server of three that has met no other has started and lives, so that nothing kills it,
// and is not ready, so that an update takes no second one away. One that is alone by intent
// is ready.
func TestProbesOfNATS(t *testing.T) {
	for name, ready := range map[string]int{"default": http.StatusServiceUnavailable, "small": http.StatusOK} {
		t.Run(name, func(t *testing.T) {
			all, err := Render(t.Context(), helm, chartFolder, variants[name]...)
			if err != nil {
				t.Fatal(err)
			}
			monitor := startNATS(t, all)
			for _, m := range all {
				if m.Kind() != "StatefulSet" {
					continue
				}
				spec := as[appsv1.StatefulSet](t, m).Spec
				if spec.MinReadySeconds < 10 {
					t.Errorf("an update goes on %d s after one was ready", spec.MinReadySeconds)
				}
				c := spec.Template.Spec.Containers[0]
				for what, path := range map[string]string{"startup": c.StartupProbe.HTTPGet.Path, "liveness": c.LivenessProbe.HTTPGet.Path} {
					if got := answer(t, monitor+path); got != http.StatusOK {
						t.Errorf("%s %s gives %d", what, path, got)
					}
				}
				if path := c.ReadinessProbe.HTTPGet.Path; answer(t, monitor+path) != ready {
					t.Errorf("readiness %s gives %d, want %d", path, answer(t, monitor+path), ready)
				}
			}
		})
	}
}

// startNATS runs the server with the chart's configuration, at ports of its own.
func startNATS(t *testing.T, all []Manifest) (monitor string) {
	t.Helper()
	folder := t.TempDir()
	bootstrapped(t, all, folder)
	options, err := server.ProcessConfigFile(natsConfig(t, all, folder))
	if err != nil {
		t.Fatal(err)
	}
	options.Host, options.Port, options.HTTPHost, options.HTTPPort = "127.0.0.1", server.RANDOM_PORT, "127.0.0.1", server.RANDOM_PORT
	options.StoreDir, options.PidFile, options.NoSigs, options.NoLog = t.TempDir(), "", true, true
	if options.Cluster.Name != "" {
		options.Cluster.Host, options.Cluster.Port = "127.0.0.1", server.RANDOM_PORT
	}
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	return fmt.Sprintf("http://%s", s.MonitorAddr())
}

func answer(t *testing.T, url string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

// Numbers of a file reach templates as floats, which print large ones as 2e+06.
func TestLargeNumbersStayWhole(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte("logicGate: {keda: {lagThreshold: 2000000, maxReplicas: 1000000}}\ningest: {replicas: 1000000, autoscaling: {enabled: false}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := Render(t.Context(), helm, chartFolder, append(variants["all"], "-f", file)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		data, err := yaml.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if found := regexp.MustCompile(`.*\de\+\d.*`).FindString(string(data)); found != "" {
			t.Errorf("%s: %s", m.Name(), found)
		}
	}
}

// A namespace and a release may be called by a number, or by a word that YAML takes for
// something else, and an Ingress may be for every host of a domain.
func TestNamesThatYAMLTakesForOthers(t *testing.T) {
	t.Parallel()
	schema, err := ReadSchema(t.Context(), "v1.37.2")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := ReadDefinitions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{"2027", "1e3", "on", "null", "true"} {
		t.Run(namespace, func(t *testing.T) {
			t.Parallel()
			flags := append(slices.Clone(variants["all"]), "--set", "ingest.ingress.host=*.example.com", "--set-string", "ingest.ingress.className="+namespace,
				"--set-string", "networkPolicy.monitoringNamespace="+namespace, "--set-string", "networkPolicy.dnsNamespace="+namespace)
			all, err := RenderAs(t.Context(), helm, chartFolder, namespace, namespace, flags...)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range all {
				judge := schema
				if foreign.Knows(m) {
					judge = foreign
				}
				for _, problem := range judge.Problems(m) {
					t.Error(problem)
				}
			}
		})
	}
}

// Releases in namespaces whose long names begin alike share nothing of the cluster.
func TestReleasesShareNothingOfTheCluster(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, last := range []string{"a", "b"} {
		all, err := Render(t.Context(), helm, chartFolder, "--set", "crds.enabled=false", "--namespace", strings.Repeat("orders-", 8)+last)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			if !slices.Contains([]string{"ClusterRole", "ClusterRoleBinding", "ValidatingWebhookConfiguration", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}, m.Kind()) {
				continue
			}
			if names[m.Name()] {
				t.Errorf("both have %s", m.Name())
			}
			names[m.Name()] = true
		}
	}
	if len(names) != 10 {
		t.Errorf("of the cluster are %d objects of two releases, want 5 of each", len(names))
	}
}

// A chart that is packaged with the build in its version has labels that Kubernetes takes.
func TestVersionWithBuild(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "peppasync")
	if err := os.CopyFS(folder, os.DirFS(chartFolder)); err != nil {
		t.Fatal(err)
	}
	about := filepath.Join(folder, "Chart.yaml")
	data, err := os.ReadFile(about)
	if err != nil {
		t.Fatal(err)
	}
	changed := regexp.MustCompile(`(?m)^(version|appVersion): .*$`).ReplaceAllString(string(data), "$0+build.7")
	if err := os.WriteFile(about, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := Render(t.Context(), helm, folder, "--set", "image.tag=0.1.0")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		for name, value := range as[struct {
			metav1.TypeMeta                                                                            `json:",inline"`
			Metadata                                                                                   metav1.ObjectMeta `json:"metadata"`
			Spec, Rules, Data, Webhooks, Subjects, RoleRef, AutomountServiceAccountToken, Type, Status any
		}](t, m).Metadata.Labels {
			if wrong := validation.IsValidLabelValue(value); len(wrong) > 0 {
				t.Errorf("%s: label %s: %v", m.Name(), name, wrong)
			}
		}
	}
}
