package main

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/peppasync/peppasync/deploy/images/internal/table"
)

const root = "../.."

// epoch is when the tests' images were created, 2026-01-01.
const epoch, created = "1767225600", "2026-01-01T00:00:00Z"

func TestMain(m *testing.M) {
	// Whatever the caller's is, the images' is the tests'.
	if err := os.Setenv("SOURCE_DATE_EPOCH", epoch); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(sharedFolder())
	os.Exit(code)
}

// sharedFolder holds the images of this machine's platform, built once for all tests.
var sharedFolder = sync.OnceValue(func() string {
	folder, err := os.MkdirTemp("", "images-test-")
	if err != nil {
		panic(err)
	}
	return folder
})

var shared = sync.OnceValues(func() (string, error) {
	return sharedFolder(), buildInto(context.Background(), sharedFolder())
})

func buildInto(ctx context.Context, folder string) error {
	return run(ctx, []string{"-out", folder, "-platforms", "linux/" + runtime.GOARCH}, io.Discard)
}

func images(t *testing.T) (string, []table.Image) {
	t.Helper()
	folder, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return folder, readTable(t).Images
}

func readTable(t *testing.T) table.Table {
	t.Helper()
	read, err := table.Read("images.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func TestTheSameCommitGivesTheSameBytes(t *testing.T) {
	first, all := images(t)
	second := t.TempDir()
	if err := buildInto(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	for _, image := range all {
		for _, name := range []string{image.Name + ".tar", image.Name + ".sbom.json"} {
			a, b := readFile(t, filepath.Join(first, name)), readFile(t, filepath.Join(second, name))
			if !bytes.Equal(a, b) {
				t.Errorf("%s is another one the second time", name)
			}
		}
	}
}

func TestImages(t *testing.T) {
	folder, all := images(t)
	absolute, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	version := readTable(t).Version
	for _, image := range all {
		t.Run(image.Name, func(t *testing.T) {
			img := readArchive(t, filepath.Join(folder, image.Name+".tar"), "docker.io/peppasync/"+image.Name+":"+version)
			config, err := img.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			checkConfig(t, config, image, version)
			binary := checkFiles(t, img, image.Name)
			if bytes.Contains(binary, []byte(absolute+"/")) {
				t.Errorf("the binary names %s, so that another checkout would give another one", absolute)
			}
			file, err := elf.NewFile(bytes.NewReader(binary))
			if err != nil {
				t.Fatal(err)
			}
			for _, program := range file.Progs {
				if program.Type == elf.PT_INTERP || program.Type == elf.PT_DYNAMIC {
					t.Errorf("the binary has a segment %s: nothing in the image could load it", program.Type)
				}
			}
		})
	}
}

func checkConfig(t *testing.T, config *v1.ConfigFile, image table.Image, version string) {
	t.Helper()
	if config.OS != "linux" || config.Architecture != runtime.GOARCH {
		t.Errorf("it is for %s/%s: what lacks its platform is left out at an import", config.OS, config.Architecture)
	}
	// A number: of a name a kubelet cannot say that it is not root's.
	if config.Config.User != "65532:65532" {
		t.Errorf("it runs as %q", config.Config.User)
	}
	if diff := cmp.Diff([]string{"/bin/" + image.Name}, config.Config.Entrypoint); diff != "" {
		t.Errorf("entry point (-want +got):\n%s", diff)
	}
	if got := config.Created.UTC().Format(timeFormat); got != created {
		t.Errorf("created at %s, not at SOURCE_DATE_EPOCH", got)
	}
	labels := config.Config.Labels
	for label, want := range map[string]string{"title": image.Title, "version": version, "created": created, "licenses": image.Licenses} {
		if got := labels["org.opencontainers.image."+label]; got != want {
			t.Errorf("label %s is %q, want %q", label, got, want)
		}
	}
	if revision := labels["org.opencontainers.image.revision"]; len(revision) < 40 {
		t.Errorf("the revision is %q", revision)
	}
}

// checkFiles returns the binary, if nothing else is there.
func checkFiles(t *testing.T, img v1.Image, name string) []byte {
	t.Helper()
	content := mutate.Extract(img)
	defer content.Close()
	var binary []byte
	var got []string
	reader := tar.NewReader(content)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, header.Name+" "+header.FileInfo().Mode().String())
		if header.Uid != 0 || header.Gid != 0 {
			t.Errorf("%s belongs to %d:%d: the one that runs it could change it", header.Name, header.Uid, header.Gid)
		}
		if header.Typeflag == tar.TypeReg {
			if binary, err = io.ReadAll(reader); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Nothing set-uid, nothing that anybody can write.
	if diff := cmp.Diff([]string{"bin drwxr-xr-x", "bin/" + name + " -r-xr-xr-x"}, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	return binary
}

// readArchive reads an archive in both ways that there are to read it, as an OCI
// layout and as a docker-archive, and returns the image, which is the same.
func readArchive(t *testing.T, path, reference string) v1.Image {
	t.Helper()
	index := readLayout(t, path)
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Fatalf("%d entries in index.json, want one", len(manifest.Manifests))
	}
	entry := manifest.Manifests[0]
	if got := entry.Annotations["io.containerd.image.name"]; got != reference {
		t.Errorf("containerd would name it %q, and a kubelet looks for %q", got, reference)
	}
	if got := entry.Annotations["org.opencontainers.image.ref.name"]; !strings.HasSuffix(reference, ":"+got) {
		t.Errorf("its tag is %q", got)
	}
	img, err := index.Image(entry.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Errorf("as an OCI layout: %v", err)
	}
	docker, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		t.Fatalf("as a docker-archive: %v", err)
	}
	if err := validate.Image(docker); err != nil {
		t.Errorf("as a docker-archive: %v", err)
	}
	a, errA := img.ConfigName()
	b, errB := docker.ConfigName()
	if errA != nil || errB != nil || a != b {
		t.Errorf("%s as a layout, %s as a docker-archive (%v, %v)", a, b, errA, errB)
	}
	return img
}

func readLayout(t *testing.T, path string) v1.ImageIndex {
	t.Helper()
	folder := t.TempDir()
	unpack(t, bytes.NewReader(readFile(t, path)), folder)
	index, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Errorf("%s: %v", path, err)
	}
	return index
}

func TestMorePlatforms(t *testing.T) {
	folder := t.TempDir()
	if err := run(t.Context(), []string{"-out", folder, "-registry", "registry.example.com", "pause"}, io.Discard); err != nil {
		t.Fatal(err)
	}
	top := readLayout(t, filepath.Join(folder, "pause.tar"))
	manifest, err := top.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	entry := manifest.Manifests[0]
	if got := entry.Annotations["io.containerd.image.name"]; got != "registry.example.com/peppasync/pause:"+readTable(t).Version {
		t.Errorf("it is called %s", got)
	}
	index, err := top.ImageIndex(entry.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if manifest, err = index.IndexManifest(); err != nil {
		t.Fatal(err)
	}
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	for _, entry := range manifest.Manifests {
		img, err := index.Image(entry.Digest)
		if err != nil {
			t.Fatal(err)
		}
		file, err := elf.NewFile(bytes.NewReader(checkFiles(t, img, "pause")))
		if err != nil {
			t.Fatal(err)
		}
		architecture := entry.Platform.Architecture
		if file.Machine != machines[architecture] {
			t.Errorf("the binary for %s is for %s", architecture, file.Machine)
		}
		delete(machines, architecture)
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Architecture != architecture {
			t.Errorf("the image for %s says that it is for %s", architecture, config.Architecture)
		}
	}
	if len(machines) > 0 {
		t.Errorf("no image for %v", machines)
	}
	bill := readBill(t, filepath.Join(folder, "pause.sbom.json"))
	for _, platform := range []string{"binary:linux/amd64", "binary:linux/arm64"} {
		if !slices.ContainsFunc(*bill.Dependencies, func(d cdx.Dependency) bool { return d.Ref == platform }) {
			t.Errorf("the bill does not say what %s is made of", platform)
		}
	}
}

func TestBillOfMaterials(t *testing.T) {
	folder, _ := images(t)
	required := string(readFile(t, root+"/services/go.mod"))
	for image, modules := range map[string][]string{
		// The last is what https is checked by where there is no other file.
		"peppasync":   {"github.com/nats-io/nats.go", "cel.dev/cel-go", "golang.org/x/crypto/x509roots/fallback"},
		"nats-server": {"github.com/nats-io/nats-server/v2"},
	} {
		bill := readBill(t, filepath.Join(folder, image+".sbom.json"))
		listed := map[string]cdx.Component{}
		for _, component := range *bill.Components {
			listed[component.Name] = component
			ours := strings.HasPrefix(component.Name, ours)
			if component.Type == cdx.ComponentTypeLibrary && component.Name != "stdlib" && !ours && component.Hashes == nil {
				t.Errorf("%s: %s has no checksum", image, component.Name)
			}
		}
		for _, module := range modules {
			found, ok := listed[module]
			if !ok || !strings.Contains(required, "\t"+module+" "+found.Version+"\n") {
				t.Errorf("%s: %s is listed at %q, services/go.mod says another", image, module, found.Version)
			}
		}
		if stdlib := listed["stdlib"]; "go"+stdlib.Version != strings.Fields(runtime.Version())[0] {
			t.Errorf("%s: the standard library is listed at %q", image, stdlib.Version)
		}
		manifest, err := readLayout(t, filepath.Join(folder, image+".tar")).IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		if digest := manifest.Manifests[0].Digest.String(); !strings.Contains(bill.Metadata.Component.PackageURL, digest) {
			t.Errorf("%s: the bill is of %s, the image is %s", image, bill.Metadata.Component.PackageURL, digest)
		}
	}
}

func readBill(t *testing.T, path string) *cdx.BOM {
	t.Helper()
	var bill cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(readFile(t, path)), cdx.BOMFileFormatJSON).Decode(&bill); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return &bill
}

// TestDockerfile: it builds the same version, and what the table says.
func TestDockerfile(t *testing.T) {
	dockerfile := string(readFile(t, "../docker/Dockerfile"))
	read := readTable(t)
	if !strings.Contains(dockerfile, "ARG VERSION="+read.Version+"\n") {
		t.Errorf("the Dockerfile's version is not %s", read.Version)
	}
	for _, image := range read.Images {
		if strings.Contains(dockerfile, "AS "+image.Name+"\n") && !strings.Contains(dockerfile, " -o /out/ "+image.Package+"\n") {
			t.Errorf("the Dockerfile builds %s from another package than %s", image.Name, image.Package)
		}
	}
}

func TestMistakes(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"a platform without containers": {[]string{"-platforms", "plan9/386"}, `"plan9/386" must be linux/ARCHITECTURE`},
		"an image that is not":          {[]string{"paws"}, "there is no image \"paws\", there are peppasync, "},
		"a registry with a path":        {[]string{"-registry", "Example", "pause"}, "image pause: "},
		"a table that is not":           {[]string{"-table", "no.yaml"}, "no.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), append([]string{"-out", t.TempDir()}, test.args...), io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
