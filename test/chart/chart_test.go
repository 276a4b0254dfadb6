package chart

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

const root = "../.."

var (
	chartFolder = filepath.Join(root, "charts", "peppasync")
	helm        = absolute(filepath.Join(root, "bin", "helm"))
	product     = absolute(filepath.Join(root, "bin", "peppasync"))
)

func absolute(path string) string {
	found, err := filepath.Abs(path)
	if err != nil {
		panic(err)
	}
	return found
}

// variants are the values that the chart is rendered with.
var variants = map[string][]string{
	"default":        nil,
	"small":          {"-f", filepath.Join(chartFolder, "values-small.yaml")},
	"external":       {"-f", "testdata/external.yaml"},
	"all":            {"-f", "testdata/all.yaml"},
	"openshift":      {"-f", "testdata/openshift.yaml"},
	"released 0.1.0": {"-f", "testdata/released/0.1.0.yaml"},
}

func each(t *testing.T, check func(t *testing.T, all []Manifest)) {
	for name, flags := range variants {
		t.Run(name, func(t *testing.T) {
			all, err := Render(t.Context(), helm, chartFolder, flags...)
			if err != nil {
				t.Fatal(err)
			}
			check(t, all)
		})
	}
}

func TestLint(t *testing.T) {
	for name, flags := range variants {
		if out, err := Helm(t.Context(), helm, append([]string{"lint", "--strict", chartFolder}, flags...)...); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// The schema refuses what nobody reads, and what cannot work.
func TestMistakesInValuesAreRefused(t *testing.T) {
	for what, flag := range map[string]string{
		"'replica' not allowed":           "ingest.replica=3",
		"must be one of 3, 5":             "nats.replicas=1",
		"'/nats/storage/size'":            "nats.storage.size=20GB",
		"'/log/level'":                    "log.level=loud",
		"'/streams/orderShards'":          "streams.orderShards=65",
		"nats.external.url is needed":     "nats.enabled=false",
		"'/topologySpread/whenUnsatis":    "topologySpread.whenUnsatisfiable=Never",
		"'/telemetry/tracesSampleRatio'":  "telemetry.tracesSampleRatio=2",
		"ingest.ingress.host is needed":   "ingest.ingress.enabled=true",
		"'/telemetry/otlpEndpoint'":       "telemetry.otlpEndpoint=collector:4318",
		"value must be 5":                 "streams.replicas=5",
		"invalid propertyName 'app.k":     `podLabels.app\.kubernetes\.io/component=mine`,
		"'/nats/podDisruptionBudget/maxU": "nats.podDisruptionBudget.maxUnavailable=most",
		"'/networkPolicy/dispatcherEgres": "networkPolicy.dispatcherEgress.cidrs[0]=example.com",
	} {
		_, err := Render(t.Context(), helm, chartFolder, "--set", flag)
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s gives %v, want %q", flag, err, what)
		}
	}
}

// What is rendered is what an API server of each version that is supported takes.
func TestManifestsAreValid(t *testing.T) {
	foreign, err := ReadDefinitions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"v1.35.4", "v1.36.3", "v1.37.2"} {
		schema, err := ReadSchema(t.Context(), version)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(version, func(t *testing.T) {
			each(t, func(t *testing.T, all []Manifest) {
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
		})
	}
}

// The judge itself: it finds what an API server would refuse or drop.
func TestTheSchemaFindsMistakes(t *testing.T) {
	schema, err := ReadSchema(t.Context(), "v1.37.2")
	if err != nil {
		t.Fatal(err)
	}
	service := func(change func(spec map[string]any)) Manifest {
		spec := map[string]any{"ports": []any{map[string]any{"port": float64(80), "targetPort": "http"}}}
		change(spec)
		return Manifest{"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "a"}, "spec": spec}
	}
	for want, m := range map[string]Manifest{
		"":                                    service(func(map[string]any) {}),
		"Service/a.spec: has no field x":      service(func(spec map[string]any) { spec["x"] = true }),
		"Service/a.spec.type: 5 is no string": service(func(spec map[string]any) { spec["type"] = float64(5) }),
		"Service/a.spec.ports[0].port: 80 is no integer": service(func(spec map[string]any) { spec["ports"] = []any{map[string]any{"port": "80"}} }),
		"Service/a.spec.ports[0]: lacks port":            service(func(spec map[string]any) { spec["ports"] = []any{map[string]any{}} }),
		"Service/a: there is no v2 Service":              {"apiVersion": "v2", "kind": "Service", "metadata": map[string]any{"name": "a"}},
		"Service/a.spec.selector.a: true is no string":   service(func(spec map[string]any) { spec["selector"] = map[string]any{"a": true} }),
	} {
		if got := strings.Join(schema.Problems(m), "\n"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// So does that of what others define, and everything that the chart has of it is judged.
func TestTheForeignDefinitionsFindMistakes(t *testing.T) {
	foreign, err := ReadDefinitions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all, err := Render(t.Context(), helm, chartFolder, variants["all"]...)
	if err != nil {
		t.Fatal(err)
	}
	judged := map[string]bool{}
	for _, m := range all {
		if !foreign.Knows(m) {
			continue
		}
		judged[m.Kind()] = true
		spec, _ := m["spec"].(map[string]any)
		spec["minReplicas"] = "2"
		if got, want := foreign.Problems(m), []string{m.Name() + ".spec: has no field minReplicas"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if !judged["ServiceMonitor"] || !judged["ScaledObject"] {
		t.Errorf("judged are only %v", judged)
	}
	monitor := Manifest{"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": map[string]any{"name": "a"}, "spec": map[string]any{
		"selector": map[string]any{}, "endpoints": []any{map[string]any{"interval": "half a minute", "scheme": "gopher"}},
	}}
	want := []string{
		`ServiceMonitor/a.spec.endpoints[0].interval: half a minute does not match ^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$`,
		"ServiceMonitor/a.spec.endpoints[0].scheme: gopher is none of [http https]",
	}
	if got := foreign.Problems(monitor); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// workload is whatever makes pods.
type workload struct {
	name     string
	selector *metav1.LabelSelector
	pod      corev1.PodTemplateSpec
}

func as[T any](t *testing.T, m Manifest) T {
	t.Helper()
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var typed T
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&typed); err != nil {
		t.Fatalf("%s: %v", m.Name(), err)
	}
	return typed
}

func workloads(t *testing.T, all []Manifest) []workload {
	t.Helper()
	var found []workload
	for _, m := range all {
		switch m.Kind() {
		case "Deployment":
			d := as[appsv1.Deployment](t, m)
			found = append(found, workload{m.Name(), d.Spec.Selector, d.Spec.Template})
		case "StatefulSet":
			d := as[appsv1.StatefulSet](t, m)
			found = append(found, workload{m.Name(), d.Spec.Selector, d.Spec.Template})
		case "Job":
			d := as[batchv1.Job](t, m)
			found = append(found, workload{m.Name(), nil, d.Spec.Template})
		case "Pod":
			d := as[corev1.Pod](t, m)
			found = append(found, workload{m.Name(), nil, corev1.PodTemplateSpec{ObjectMeta: d.ObjectMeta, Spec: d.Spec}})
		}
	}
	return found
}

func TestPodsAreRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	each(t, func(t *testing.T, all []Manifest) {
		for _, w := range workloads(t, all) {
			for _, result := range evaluator.EvaluatePod(restricted, &w.pod.ObjectMeta, &w.pod.Spec) {
				if !result.Allowed {
					t.Errorf("%s: %s: %s", w.name, result.ForbiddenReason, result.ForbiddenDetail)
				}
			}
			for _, c := range w.pod.Spec.Containers {
				if c.SecurityContext == nil || c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
					t.Errorf("%s: its root can be written", w.name)
				}
				if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
					t.Errorf("%s: lacks a request or the limit of its memory", w.name)
				}
				if w.selector != nil && (c.LivenessProbe == nil || c.ReadinessProbe == nil) {
					t.Errorf("%s: lacks a probe", w.name)
				}
			}
		}
	})
}

// Only who speaks to the API server has a token for it, and each has an account of its own.
func TestTokensAreWhereTheyAreUsed(t *testing.T) {
	with := []string{"ingest", "throttle-dispatcher", "operator", "bootstrap"}
	each(t, func(t *testing.T, all []Manifest) {
		accounts := map[string]string{}
		for _, w := range workloads(t, all) {
			component := w.pod.Labels["app.kubernetes.io/component"]
			mounted := w.pod.Spec.AutomountServiceAccountToken
			if mounted == nil || *mounted != slices.Contains(with, component) {
				t.Errorf("%s: the token is mounted: %v", w.name, mounted)
			}
			account := w.pod.Spec.ServiceAccountName
			if other, taken := accounts[account]; account != "" && taken {
				t.Errorf("%s and %s are both %s", w.name, other, account)
			}
			accounts[account] = w.name
		}
	})
}

// Nobody may read every Secret, nor list them, nor make itself more than it is; each
// mounts no key but its own.
func TestSecretsAreOneByOne(t *testing.T) {
	each(t, func(t *testing.T, all []Manifest) {
		for _, m := range all {
			if m.Kind() != "Role" && m.Kind() != "ClusterRole" {
				continue
			}
			for _, rule := range as[rbacv1.Role](t, m).Rules {
				if slices.Contains(rule.Verbs, "*") || slices.Contains(rule.Resources, "*") || slices.Contains(rule.APIGroups, "*") {
					t.Errorf("%s: %v", m.Name(), rule)
				}
				if slices.Contains(rule.Resources, "secrets") && len(rule.ResourceNames) == 0 && !cmp.Equal(rule.Verbs, []string{"create"}) {
					t.Errorf("%s: %v on every Secret", m.Name(), rule.Verbs)
				}
			}
		}
		for _, w := range workloads(t, all) {
			component := w.pod.Labels["app.kubernetes.io/component"]
			for _, volume := range w.pod.Spec.Volumes {
				if volume.Projected == nil || component == "nats" {
					continue
				}
				for _, source := range volume.Projected.Sources {
					own := map[string]string{"test": "admin"}[component]
					if own == "" {
						own = component
					}
					for _, item := range source.Secret.Items {
						if item.Path != "ca.crt" && (item.Path != "nkey" || !strings.HasSuffix(source.Secret.Name, "nats-"+own)) {
							t.Errorf("%s mounts %s of %s", w.name, item.Key, source.Secret.Name)
						}
					}
				}
			}
		}
	})
}

// What selects pods selects some, by ports that they have.
func TestSelectorsFindTheirPods(t *testing.T) {
	each(t, func(t *testing.T, all []Manifest) {
		pods := workloads(t, all)
		find := func(by string, selector labels.Selector) []workload {
			var found []workload
			for _, w := range pods {
				if selector.Matches(labels.Set(w.pod.Labels)) {
					found = append(found, w)
				}
			}
			if len(found) == 0 {
				t.Errorf("%s selects no pod: %s", by, selector)
			}
			return found
		}
		for _, w := range pods {
			if w.selector != nil {
				selector, err := metav1.LabelSelectorAsSelector(w.selector)
				if err != nil || len(find(w.name, selector)) != 1 {
					t.Errorf("%s selects others' pods, too: %s, %v", w.name, selector, err)
				}
			}
		}
		for _, m := range all {
			switch m.Kind() {
			case "Service":
				s := as[corev1.Service](t, m)
				for _, w := range find(m.Name(), labels.SelectorFromSet(s.Spec.Selector)) {
					for _, port := range s.Spec.Ports {
						named := slices.ContainsFunc(w.pod.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool { return p.Name == port.TargetPort.String() })
						if !named && w.selector != nil && w.pod.Labels["app.kubernetes.io/component"] != "nats" {
							t.Errorf("%s: %s has no port %s", m.Name(), w.name, port.TargetPort.String())
						}
					}
				}
			case "PodDisruptionBudget":
				selector, err := metav1.LabelSelectorAsSelector(as[policyv1.PodDisruptionBudget](t, m).Spec.Selector)
				if err != nil || len(find(m.Name(), selector)) != 1 {
					t.Errorf("%s is for %s, %v", m.Name(), selector, err)
				}
			}
		}
	})
}

var flag = regexp.MustCompile(`^--([a-z0-9-]+)`)

// Each program knows the flags that it is started with.
func TestProgramsKnowTheirFlags(t *testing.T) {
	each(t, func(t *testing.T, all []Manifest) {
		for _, w := range workloads(t, all) {
			container := w.pod.Spec.Containers[0]
			if !strings.Contains(container.Image, "peppasync/peppasync:") {
				continue
			}
			help, err := exec.CommandContext(t.Context(), product, container.Args[0], "--help").CombinedOutput()
			if err != nil {
				t.Fatalf("%s %s: %v\n%s", product, container.Args[0], err, help)
			}
			for _, argument := range container.Args[1:] {
				name := flag.FindStringSubmatch(argument)
				if len(name) < 2 || !strings.Contains(string(help), "--"+name[1]+" ") {
					t.Errorf("%s: %s has no %s", w.name, container.Args[0], argument)
				}
			}
		}
	})
}

// The server's own reading of its configuration, with what bootstrap writes beside it.
func TestNATSReadsItsConfiguration(t *testing.T) {
	for name, want := range map[string]struct {
		store  int64
		routes int
	}{"default": {20 << 30 / 10 * 8, 3}, "small": {4 << 30 / 10 * 8, 0}, "all": {512 << 20 / 10 * 8, 3}} {
		t.Run(name, func(t *testing.T) {
			all, err := Render(t.Context(), helm, chartFolder, variants[name]...)
			if err != nil {
				t.Fatal(err)
			}
			folder := t.TempDir()
			made := bootstrapped(t, all, folder)
			options, err := server.ProcessConfigFile(natsConfig(t, all, folder))
			if err != nil {
				t.Fatal(err)
			}
			if !options.SyncAlways || options.JetStreamMaxStore/10*10 != want.store/10*10 || len(options.Routes) != want.routes ||
				options.TLSConfig.MinVersion != 0x0304 || len(options.Nkeys) != 7 {
				t.Errorf("syncs %v, stores %d, routes %v, users %d", options.SyncAlways, options.JetStreamMaxStore, options.Routes, len(options.Nkeys))
			}
			if diff := cmp.Diff(made, granted(t, all)); diff != "" {
				t.Errorf("bootstrap makes other Secrets than it may look for (-made +may):\n%s", diff)
			}
		})
	}
}

// bootstrapped runs bootstrap as the hook does, into a folder, and returns what it made.
func bootstrapped(t *testing.T, all []Manifest, folder string) []string {
	t.Helper()
	for _, w := range workloads(t, all) {
		if w.pod.Labels["app.kubernetes.io/component"] != "bootstrap" {
			continue
		}
		arguments := append(slices.Clone(w.pod.Spec.Containers[0].Args), "--dir="+folder)
		if out, err := exec.CommandContext(t.Context(), product, arguments...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", arguments, err, out)
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func natsConfig(t *testing.T, all []Manifest, folder string) string {
	t.Helper()
	t.Setenv("POD_NAME", "peppasync-nats-0")
	for _, m := range all {
		if m.Kind() != "ConfigMap" {
			continue
		}
		config := as[corev1.ConfigMap](t, m).Data["nats.conf"]
		path := filepath.Join(folder, "nats.conf")
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(config, "/etc/nats/", folder+"/")), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Fatal("there is no nats.conf")
	return ""
}

// granted returns the names, without the prefix, that bootstrap may look for.
func granted(t *testing.T, all []Manifest) []string {
	t.Helper()
	var names []string
	for _, m := range all {
		if m.Kind() != "Role" || !strings.HasSuffix(m.Name(), "-bootstrap") {
			continue
		}
		for _, rule := range as[rbacv1.Role](t, m).Rules {
			if slices.Contains(rule.Verbs, "get") {
				for _, name := range rule.ResourceNames {
					_, rest, _ := strings.Cut(name, "-nats-")
					names = append(names, rest)
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

// Who reads the notes finds the address and what an uninstall leaves.
func TestNotes(t *testing.T) {
	out, err := Helm(t.Context(), helm, "install", "peppasync", chartFolder, "--namespace", "shop", "--dry-run=client")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"http://peppasync-ingest.shop.svc:80/v1/webhooks/<connector>", "PersistentVolumeClaims", "peppasync-nats-*"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the notes do not have %q:\n%s", want, fmt.Sprintf("%.2000s", out[max(0, len(out)-2000):]))
		}
	}
}
