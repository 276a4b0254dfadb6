package observability

import (
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	_ "github.com/prometheus/prometheus/discovery/kubernetes" // what the configuration names
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/peppasync/peppasync/test/chart"
)

// Prometheus reads its configuration, and finds each of the chart's roles by it, once.
func TestPrometheusFindsTheRoles(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(folder, "prometheus", "prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	read, err := config.Load(string(data), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var scrape *config.ScrapeConfig
	for _, s := range read.ScrapeConfigs {
		if s.JobName == "peppasync" {
			scrape = s
		}
	}
	if scrape == nil {
		t.Fatal("there is no job peppasync")
	}
	rendered, err := chart.Render(t.Context(), absolute(t, "bin/helm"), absolute(t, "charts/peppasync"))
	if err != nil {
		t.Fatal(err)
	}
	var pods []corev1.PodTemplateSpec
	for _, d := range ofKind[appsv1.Deployment](t, rendered, "Deployment") {
		pods = append(pods, d.Spec.Template)
	}
	for _, s := range ofKind[appsv1.StatefulSet](t, rendered, "StatefulSet") {
		pods = append(pods, s.Spec.Template)
	}
	found := map[string]string{}
	for _, pod := range pods {
		if pod.Labels["app.kubernetes.io/name"] != "peppasync" {
			t.Errorf("the label that pods are listed by is %q", pod.Labels["app.kubernetes.io/name"])
		}
		for _, port := range pod.Spec.Containers[0].Ports {
			// As Prometheus' own discovery names what it finds.
			builder := labels.NewBuilder(labels.FromStrings(
				"__address__", "10.0.0.1:"+strconv.Itoa(int(port.ContainerPort)),
				"__meta_kubernetes_namespace", "shop", "__meta_kubernetes_pod_name", "pod",
				"__meta_kubernetes_pod_phase", "Running",
				"__meta_kubernetes_pod_container_port_name", port.Name,
				"__meta_kubernetes_pod_label_app_kubernetes_io_component", pod.Labels["app.kubernetes.io/component"],
			))
			if relabel.ProcessBuilder(builder, scrape.RelabelConfigs...) {
				found[builder.Get("role")+" of "+builder.Get("namespace")+"/"+builder.Get("pod")] += builder.Get("__address__") + " "
			}
		}
	}
	for _, role := range []string{"ingest", "logic-gate", "throttle-dispatcher", "inventory-reconciler", "notifier", "operator"} {
		if got := found[role+" of shop/pod"]; got != "10.0.0.1:9464 " {
			t.Errorf("%s is read at %q, want port 9464 once", role, got)
		}
	}
	if len(found) != 6 {
		t.Errorf("found %v, want the six roles", found)
	}
}
