package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

func read(t *testing.T, path string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var found map[string]any
	if err := yaml.Unmarshal(data, &found); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return found
}

// paths are the names of all values, such as ingest.replicas.
func paths(in map[string]any, prefix string) []string {
	var all []string
	for name, value := range in {
		if below, is := value.(map[string]any); is && len(below) > 0 {
			all = append(all, paths(below, prefix+name+".")...)
			continue
		}
		all = append(all, prefix+name)
	}
	slices.Sort(all)
	return all
}

// What was ever set can be set for ever: the values of each release are kept, all of them,
// and every test renders the present chart with them.
func TestValuesOfEachReleaseAreKept(t *testing.T) {
	version := fmt.Sprint(read(t, filepath.Join(chartFolder, "Chart.yaml"))["version"])
	released := filepath.Join("testdata", "released", version+".yaml")
	if diff := cmp.Diff(paths(read(t, filepath.Join(chartFolder, "values.yaml")), ""), paths(read(t, released), "")); diff != "" {
		t.Errorf("%s is to have every value of %s (-values.yaml +kept):\n%s", released, version, diff)
	}
	files, err := filepath.Glob(filepath.Join("testdata", "released", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no values are kept: %v", err)
	}
	for _, file := range files {
		if name := "released " + strings.TrimSuffix(filepath.Base(file), ".yaml"); variants[name] == nil {
			t.Errorf("nothing is rendered with %s: there is no variant %q", file, name)
		}
	}
}

// The images that the chart asks for are those that are built.
func TestVersionsAreOne(t *testing.T) {
	chart := read(t, filepath.Join(chartFolder, "Chart.yaml"))
	images := read(t, filepath.Join(root, "deploy", "images", "images.yaml"))
	if chart["appVersion"] != images["version"] || chart["appVersion"] != chart["version"] {
		t.Errorf("the chart is %v for images %v, and images are built as %v", chart["version"], chart["appVersion"], images["version"])
	}
	dockerfile, err := os.ReadFile(filepath.Join(root, "deploy", "docker", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	versions := regexp.MustCompile(`(?m)^ARG VERSION=(.*)$`).FindAllStringSubmatch(string(dockerfile), -1)
	if len(versions) == 0 {
		t.Error("the Dockerfile has no version")
	}
	for _, found := range versions {
		if found[1] != fmt.Sprint(images["version"]) {
			t.Errorf("the Dockerfile builds %s, the images are %v", found[1], images["version"])
		}
	}
	built := map[string]bool{}
	for _, image := range images["images"].([]any) {
		built[fmt.Sprint(image.(map[string]any)["name"])] = true
	}
	each(t, func(t *testing.T, all []Manifest) {
		for _, w := range workloads(t, all) {
			name := regexp.MustCompile(`peppasync/([a-z-]+):[^:]+$`).FindStringSubmatch(w.pod.Spec.Containers[0].Image)
			if len(name) != 2 || !built[name[1]] || !strings.Contains(string(dockerfile), " AS "+name[1]+"\n") {
				t.Errorf("%s runs %s, which is not built", w.name, w.pod.Spec.Containers[0].Image)
			}
		}
	})
}

// Pods of hooks go where all others may go, or an install waits for them for ever.
func TestHooksGoWhereAllPodsGo(t *testing.T) {
	each(t, func(t *testing.T, all []Manifest) {
		pods := workloads(t, all)
		first := pods[0].pod.Spec
		for _, w := range pods {
			spec := w.pod.Spec
			if diff := cmp.Diff([]any{first.NodeSelector, first.Tolerations, first.ImagePullSecrets, first.PriorityClassName},
				[]any{spec.NodeSelector, spec.Tolerations, spec.ImagePullSecrets, spec.PriorityClassName}); diff != "" {
				t.Errorf("%s goes elsewhere than %s (-theirs +its):\n%s", w.name, pods[0].name, diff)
			}
		}
	})
}

// The keys of every role are in no manifest: what a deployer that prunes would take for a
// part of the release it would remove.
func TestKeysAreNotPruned(t *testing.T) {
	each(t, func(t *testing.T, all []Manifest) {
		for _, w := range workloads(t, all) {
			for _, argument := range w.pod.Spec.Containers[0].Args {
				if strings.HasPrefix(argument, "--label=app.kubernetes.io/instance=") {
					t.Errorf("%s makes Secrets with %s", w.name, argument)
				}
			}
		}
	})
}

// Who writes one of the two does not have to know that the other has a default.
func TestBudgetIsEitherOfTwo(t *testing.T) {
	all, err := Render(t.Context(), helm, chartFolder, "--set", "notifier.podDisruptionBudget.minAvailable=1", "--set", "ingest.podDisruptionBudget.maxUnavailable=25%")
	if err != nil {
		t.Fatal(err)
	}
	one, quarter := intstr.FromInt32(1), intstr.FromString("25%")
	for _, m := range all {
		if m.Kind() != "PodDisruptionBudget" {
			continue
		}
		want := policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &one}
		switch m.Name() {
		case "PodDisruptionBudget/peppasync-notifier":
			want = policyv1.PodDisruptionBudgetSpec{MinAvailable: &one}
		case "PodDisruptionBudget/peppasync-ingest":
			want = policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &quarter}
		}
		got := as[policyv1.PodDisruptionBudget](t, m).Spec
		if !cmp.Equal(got.MinAvailable, want.MinAvailable) || !cmp.Equal(got.MaxUnavailable, want.MaxUnavailable) {
			t.Errorf("%s: at least %v, at most %v away", m.Name(), got.MinAvailable, got.MaxUnavailable)
		}
	}
}
