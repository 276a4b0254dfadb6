package embed

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/nats-io/nats-server/v2/server"
)

// secure makes the server take nobody but the users of "peppasync bootstrap", over TLS,
// by what that wrote to the folder; and as members of its cluster nobody but those with a
// certificate of the same CA.
func secure(o *server.Options, folder string) error {
	users, err := os.ReadFile(filepath.Join(folder, "users", "authorization.conf"))
	if err != nil {
		return fmt.Errorf("embedded NATS: security folder: make it with \"peppasync bootstrap --dir\": %w", err)
	}
	certificate := fmt.Sprintf("cert_file: %q\n  key_file: %q\n  ca_file: %q\n  min_version: \"1.3\"\n",
		filepath.Join(folder, "server", "tls.crt"), filepath.Join(folder, "server", "tls.key"), filepath.Join(folder, "server", "ca.crt"))
	config := string(users) + "tls {\n  " + certificate + "}\n"
	if o.Cluster.Name != "" {
		config += "cluster {\n  name: " + fmt.Sprintf("%q", o.Cluster.Name) + "\n  tls {\n  " + certificate + "  verify: true\n  }\n}\n"
	}
	if err := o.ProcessConfigString(config); err != nil {
		return fmt.Errorf("embedded NATS: security folder %s: %w", folder, err)
	}
	return nil
}
