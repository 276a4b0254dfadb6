package observability

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/peppasync/peppasync/test/chart"
)

// built returns what kubectl apply -k sends.
func built(t *testing.T) []chart.Manifest {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatal(err)
	}
	var all []chart.Manifest
	for _, r := range resources.Resources() {
		data, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		var m chart.Manifest
		if err := yaml.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

func as[T any](t *testing.T, m chart.Manifest) T {
	t.Helper()
	data, err := yaml.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var typed T
	if err := yaml.UnmarshalStrict(data, &typed); err != nil {
		t.Fatalf("%s: %v", m.Name(), err)
	}
	return typed
}

// ofKind returns those of a kind.
func ofKind[T any](t *testing.T, all []chart.Manifest, kind string) []T {
	t.Helper()
	var found []T
	for _, m := range all {
		if m.Kind() == kind {
			found = append(found, as[T](t, m))
		}
	}
	return found
}

func pods(t *testing.T, all []chart.Manifest) []corev1.PodTemplateSpec {
	t.Helper()
	var found []corev1.PodTemplateSpec
	for _, d := range ofKind[appsv1.Deployment](t, all, "Deployment") {
		found = append(found, d.Spec.Template)
	}
	for _, s := range ofKind[appsv1.StatefulSet](t, all, "StatefulSet") {
		found = append(found, s.Spec.Template)
	}
	if len(found) != 4 {
		t.Fatalf("%d workloads, want 4", len(found))
	}
	return found
}

func TestManifestsAreValid(t *testing.T) {
	all := built(t)
	for _, version := range []string{"v1.35.4", "v1.36.3", "v1.37.2"} {
		schema, err := chart.ReadSchema(t.Context(), version)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			for _, problem := range schema.Problems(m) {
				t.Errorf("%s: %s", version, problem)
			}
		}
	}
	for _, m := range all {
		metadata, _ := m["metadata"].(map[string]any)
		if in := metadata["namespace"]; m.Kind() != "Namespace" && !strings.HasPrefix(m.Kind(), "ClusterRole") && in != "observability" {
			t.Errorf("%s is in namespace %v", m.Name(), in)
		}
	}
}

// The namespace enforces it, and the chart's own rule beside that: nobody's root is writable.
func TestPodsAreRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	all := built(t)
	for _, pod := range pods(t, all) {
		name := pod.Spec.ServiceAccountName
		for _, result := range evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec) {
			if !result.Allowed {
				t.Errorf("%s: %s: %s", name, result.ForbiddenReason, result.ForbiddenDetail)
			}
		}
		if token := pod.Spec.AutomountServiceAccountToken; token == nil || *token != (name == "prometheus") {
			t.Errorf("%s has a token: %v", name, token)
		}
		for _, c := range pod.Spec.Containers {
			if c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
				t.Errorf("%s: its root can be written", name)
			}
			if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
				t.Errorf("%s: lacks a request or the limit of its memory", name)
			}
			if c.LivenessProbe == nil || c.ReadinessProbe == nil {
				t.Errorf("%s: lacks a probe", name)
			}
		}
	}
	if labels := ofKind[corev1.Namespace](t, all, "Namespace")[0].Labels; labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Errorf("the namespace enforces %v", labels)
	}
}

var pinned = regexp.MustCompile(`^docker\.io/[a-z]+/[a-z-]+:v?(\d+\.\d+\.\d+)$`)

// Images are pinned, and those of the collector and Prometheus are of the code that the
// other tests judge their files by.
func TestImagesAreThoseThatAreTested(t *testing.T) {
	data, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		t.Fatal(err)
	}
	tested := map[string]string{}
	for _, r := range mod.Require {
		switch r.Mod.Path {
		case "go.opentelemetry.io/collector/otelcol":
			tested["otel-collector"] = strings.TrimPrefix(r.Mod.Version, "v")
		case "github.com/prometheus/prometheus": // v0.316.0 is the module of 3.16.0
			minor := strings.TrimPrefix(r.Mod.Version, "v0.3")
			tested["prometheus"] = "3." + strings.TrimPrefix(minor, "0")
		}
	}
	for _, pod := range pods(t, built(t)) {
		name := pod.Spec.ServiceAccountName
		version := pinned.FindStringSubmatch(pod.Spec.Containers[0].Image)
		if version == nil {
			t.Errorf("%s: %s is not pinned", name, pod.Spec.Containers[0].Image)
		} else if want := tested[name]; want != "" && version[1] != want {
			t.Errorf("%s: %s, but %s is what is tested", name, version[1], want)
		}
	}
}

// Each Service and policy means the pods that it says, by ports that they have; and what is
// mounted is there.
func TestNamesAndPortsFit(t *testing.T) {
	all := built(t)
	configs := map[string]corev1.ConfigMap{}
	for _, c := range ofKind[corev1.ConfigMap](t, all, "ConfigMap") {
		configs[c.Name] = c
	}
	ports := map[string][]int32{"peppasync": {9464}} // the chart's, which its own tests see to
	for _, pod := range pods(t, all) {
		name := pod.Labels["app.kubernetes.io/name"]
		for _, p := range pod.Spec.Containers[0].Ports {
			ports[name] = append(ports[name], p.ContainerPort)
		}
		for _, v := range pod.Spec.Volumes {
			if v.ConfigMap != nil {
				if _, ok := configs[v.ConfigMap.Name]; !ok {
					t.Errorf("%s mounts %s, which is not there", name, v.ConfigMap.Name)
				}
				for _, item := range v.ConfigMap.Items {
					if _, ok := configs[v.ConfigMap.Name].Data[item.Key]; !ok {
						t.Errorf("%s mounts %s of %s, which is not there", name, item.Key, v.ConfigMap.Name)
					}
				}
			}
		}
		for _, argument := range pod.Spec.Containers[0].Args {
			if _, file, ok := strings.Cut(argument, "/etc/"); ok {
				found := slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
					return v.ConfigMap != nil && configs[v.ConfigMap.Name].Data[filepath.Base(file)] != ""
				})
				if !found {
					t.Errorf("%s is started with %s, which is not mounted", name, argument)
				}
			}
		}
	}
	for _, s := range ofKind[corev1.Service](t, all, "Service") {
		if len(ports[s.Spec.Selector["app.kubernetes.io/name"]]) != len(s.Spec.Ports) {
			t.Errorf("Service %s has ports %v of %v", s.Name, s.Spec.Ports, ports[s.Name])
		}
	}
	for _, p := range ofKind[networkingv1.NetworkPolicy](t, all, "NetworkPolicy") {
		for _, rule := range p.Spec.Ingress {
			check(t, p.Name, ports, p.Spec.PodSelector, rule.Ports)
		}
		for _, rule := range p.Spec.Egress {
			for _, to := range rule.To {
				if to.PodSelector != nil {
					check(t, p.Name, ports, *to.PodSelector, rule.Ports)
				}
			}
		}
	}
}

func check(t *testing.T, policy string, ports map[string][]int32, pods metav1.LabelSelector, allowed []networkingv1.NetworkPolicyPort) {
	t.Helper()
	of, there := ports[pods.MatchLabels["app.kubernetes.io/name"]]
	if !there {
		t.Errorf("policy %s: there are no pods %v", policy, pods)
	}
	for _, p := range allowed {
		if !slices.Contains(of, p.Port.IntVal) {
			t.Errorf("policy %s: pods %v have no port %s", policy, pods, p.Port)
		}
	}
}

// The chart's roles reach the collector and Prometheus reaches them, by the policies of both
// sides, with the values that the README names.
func TestTheChartFits(t *testing.T) {
	rendered, err := chart.Render(t.Context(), absolute(t, "bin/helm"), absolute(t, "charts/peppasync"),
		"--set", "telemetry.otlpEndpoint="+endpoint, "--set", "networkPolicy.monitoringNamespace=observability")
	if err != nil {
		t.Fatal(err)
	}
	roles := 0
	for _, d := range ofKind[appsv1.Deployment](t, rendered, "Deployment") {
		roles++
		if !slices.Contains(d.Spec.Template.Spec.Containers[0].Args, "--otlp-endpoint="+endpoint) {
			t.Errorf("%s does not know the collector", d.Name)
		}
	}
	if roles < 6 {
		t.Errorf("%d roles", roles)
	}
	var out, in bool
	for _, p := range ofKind[networkingv1.NetworkPolicy](t, rendered, "NetworkPolicy") {
		for _, e := range p.Spec.Egress {
			out = out || len(e.To) == 0 && slices.ContainsFunc(e.Ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port.IntVal == 4318 })
		}
		for _, i := range p.Spec.Ingress {
			from := slices.ContainsFunc(i.From, func(f networkingv1.NetworkPolicyPeer) bool {
				return f.NamespaceSelector != nil && f.NamespaceSelector.MatchLabels[corev1.LabelMetadataName] == "observability"
			})
			in = in || from && i.Ports[0].Port.IntVal == 9464
		}
	}
	if !out || !in {
		t.Errorf("the roles may call the collector: %v; Prometheus may read them: %v", out, in)
	}
	for _, p := range ofKind[networkingv1.NetworkPolicy](t, built(t), "NetworkPolicy") {
		if p.Name != "otel-collector" {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(p.Spec.Ingress[0].From[0].PodSelector)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range ofKind[appsv1.Deployment](t, rendered, "Deployment") {
			if !selector.Matches(labels.Set(d.Spec.Template.Labels)) {
				t.Errorf("the collector lets %s not in", d.Name)
			}
		}
	}
}

// endpoint is what the README says to set in the chart.
const endpoint = "http://otel-collector.observability.svc:4318/v1/traces"

func TestTheREADMEsSayTheSame(t *testing.T) {
	for _, file := range []string{"README.md", "deploy/observability/README.md"} {
		data, err := os.ReadFile(absolute(t, file))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"kubectl apply -k deploy/observability", "telemetry.otlpEndpoint=" + endpoint, "networkPolicy.monitoringNamespace=observability"} {
			if !strings.Contains(string(data), want) {
				t.Errorf("%s does not say %s", file, want)
			}
		}
	}
}

func absolute(t *testing.T, file string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(fmt.Errorf("make chart builds what this needs: %w", err))
	}
	return path
}
