package cluster

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The configuration of containerd 2. What differs from its defaults:
// restrict_oom_score_adj, because without it every sandbox fails where the
// score may not be lowered, and runc says only "can't get final child's PID from
// pipe: EOF"; and folders, so that two nodes do not meet.
const containerdConfig = `version = 3
root = "{dir}/containerd/root"
state = "{dir}/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs",
  "io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp"]

[grpc]
address = "{dir}/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
path = "{dir}/containerd/opt"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{pause}"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{cni}"]
conf_dir = "{dir}/cni"

[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
runtime_path = "{shim}"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{runc}"
SystemdCgroup = false
`

// mounts runs as root of the mount namespace that containerd, its containers
// and the kubelet share. What they write to fixed places goes to a memory file
// system or to the node's folder, and the kernel settings that the kubelet wants
// are shown to it as they should be, because it would change them for the
// whole machine.
const mounts = `set -eu
dir=$1; shift
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p "$dir/var-log" "$dir/cni-state" "$dir/kernel" /var/lib/cni
mount --bind "$dir/var-log" /var/log
mount --bind "$dir/cni-state" /var/lib/cni
show() { if [ -e "$1" ]; then echo "$2" > "$dir/kernel/${1##*/}"; mount --bind "$dir/kernel/${1##*/}" "$1"; fi; }
show /proc/sys/vm/overcommit_memory 1
show /proc/sys/vm/panic_on_oom 0
show /proc/sys/kernel/panic 10
show /proc/sys/kernel/panic_on_oops 1
show /proc/sys/kernel/keys/root_maxkeys 1000000
show /proc/sys/kernel/keys/root_maxbytes 25000000
exec "$@"
`

func (n *Node) startContainerd(ctx context.Context) error {
	config := strings.NewReplacer("{dir}", n.remains.Dir, "{pause}", pauseImage, "{cni}", cniFolder,
		"{shim}", n.programs["containerd-shim-runc-v2"], "{runc}", n.programs["runc"]).Replace(containerdConfig)
	if err := n.write("containerd.toml", []byte(config)); err != nil {
		return err
	}
	if err := n.writeCNI(); err != nil {
		return err
	}
	c, err := n.start(ctx, "containerd", "unshare", "--mount", "--propagation=private", "--",
		"sh", "-c", mounts, "mounts", n.remains.Dir, n.programs["containerd"], "--config", n.path("containerd.toml"))
	if err != nil {
		return err
	}
	n.containerd = c
	// Whoever connects finds the mount namespace complete.
	return until(ctx, []*component{c}, func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", n.path("containerd.sock"))
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// writeCNI connects pods by a bridge. Addresses need not be masked: the pods'
// are known everywhere in the namespace, and nothing is outside of it.
func (n *Node) writeCNI() error {
	type object = map[string]any
	list := object{
		"cniVersion": "1.0.0",
		"name":       n.remains.name(),
		"plugins": []object{{
			"type": "bridge", "bridge": "pods0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
			"ipam": object{
				"type":    "host-local",
				"dataDir": n.path("cni-addresses"),
				"ranges":  [][]object{{{"subnet": podRange}}},
				"routes":  []object{{"dst": "0.0.0.0/0"}},
			},
		}},
	}
	data, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	return n.write("cni/10-peppasync.conflist", data)
}

// Import hands the images of an archive to the node: docker-archive or OCI
// layout, as a tar. It returns their names.
func (n *Node) Import(ctx context.Context, archive string) ([]string, error) {
	return Import(ctx, n.remains.Dir, n.programs["ctr"], archive)
}

// Import does so for the node of a folder, with the program ctr of containerd.
func Import(ctx context.Context, dir, ctr, archive string) ([]string, error) {
	images := func(arguments ...string) (string, error) {
		command, err := Attach(ctx, dir, ctr, append([]string{
			"--address", filepath.Join(dir, "containerd.sock"), "--namespace", "k8s.io", "images",
		}, arguments...)...)
		if err != nil {
			return "", err
		}
		return ask(command)
	}
	named, err := namesIn(archive)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", archive, err)
	}
	if _, err := images("import", archive); err != nil {
		return nil, fmt.Errorf("import %s: %w", archive, err)
	}
	known, err := images("list", "--quiet")
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range strings.FieldsSeq(known) {
		if slices.Contains(named, name) || slices.Contains(named, strings.TrimPrefix(name, "docker.io/")) {
			names = append(names, name)
		}
	}
	// containerd leaves out, without a word, an image whose configuration lacks os and
	// architecture.
	if len(names) == 0 {
		return nil, fmt.Errorf("%s brought no image for this platform; do its configurations name os and architecture? It names %q", archive, named)
	}
	return names, nil
}

// namesIn returns what an archive calls its images, as an OCI layout or as docker does.
// What ctr says about an import is for people: it cuts names, and puts blanks into them.
func namesIn(archive string) ([]string, error) {
	file, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	var (
		names  []string
		layout struct {
			Manifests []struct {
				Annotations map[string]string `json:"annotations"`
			} `json:"manifests"`
		}
		docker []struct {
			RepoTags []string `json:"RepoTags"`
		}
	)
	for content := tar.NewReader(file); ; {
		header, err := content.Next()
		switch {
		case errors.Is(err, io.EOF):
			return names, nil
		case err != nil:
			return nil, err
		case header.Name == "index.json":
			if err := json.NewDecoder(content).Decode(&layout); err != nil {
				return nil, fmt.Errorf("index.json: %w", err)
			}
			for _, manifest := range layout.Manifests {
				names = append(names, manifest.Annotations["io.containerd.image.name"])
			}
		case header.Name == "manifest.json":
			if err := json.NewDecoder(content).Decode(&docker); err != nil {
				return nil, fmt.Errorf("manifest.json: %w", err)
			}
			for _, image := range docker {
				names = append(names, image.RepoTags...)
			}
		}
	}
}

func (n *Node) path(name string) string { return filepath.Join(n.remains.Dir, name) }

func (n *Node) write(name string, data []byte) error {
	name = n.path(name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o600)
}
