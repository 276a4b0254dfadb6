package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// AddVolumes makes volumes of this many GiB for claims of a storage class, ""
// for claims that name none: there is nobody who would make one for a claim.
// Names begin with the given one. Their folders may be written by any user,
// because a volume of this kind is not handed to the group of a pod.
func (n *Node) AddVolumes(ctx context.Context, name, class string, count, gibibytes int) error {
	type object = map[string]any
	var manifests strings.Builder
	for i := range count {
		volume := fmt.Sprintf("%s-%d", name, i)
		folder := n.path(filepath.Join("volumes", volume))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(folder, 0o777); err != nil {
			return err
		}
		data, err := json.Marshal(object{
			"apiVersion": "v1", "kind": "PersistentVolume",
			"metadata": object{"name": volume},
			"spec": object{
				"capacity":                      object{"storage": quantity(gibibytes)},
				"accessModes":                   []string{"ReadWriteOnce"},
				"persistentVolumeReclaimPolicy": "Retain",
				"storageClassName":              class,
				"hostPath":                      object{"path": folder, "type": "Directory"},
			},
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(&manifests, "---\n%s\n", data)
	}
	return n.Apply(ctx, manifests.String())
}
