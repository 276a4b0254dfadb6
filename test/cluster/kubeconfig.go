package cluster

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// kubeconfig is the part of the format that is needed here. JSON is YAML.
type kubeconfig struct {
	APIVersion     string         `json:"apiVersion"`
	Kind           string         `json:"kind"`
	Clusters       []namedCluster `json:"clusters"`
	Users          []namedUser    `json:"users"`
	Contexts       []namedContext `json:"contexts"`
	CurrentContext string         `json:"current-context"`
}

type namedCluster struct {
	Name    string `json:"name"`
	Cluster struct {
		Server               string `json:"server"`
		CertificateAuthority []byte `json:"certificate-authority-data"`
	} `json:"cluster"`
}

type namedUser struct {
	Name string `json:"name"`
	User struct {
		Token string `json:"token"`
	} `json:"user"`
}

type namedContext struct {
	Name    string `json:"name"`
	Context struct {
		Cluster string `json:"cluster"`
		User    string `json:"user"`
	} `json:"context"`
}

// writeKubeconfig lets a user sign in at the server; the file stands by itself.
func (i *identity) writeKubeconfig(name, user, server string) error {
	cluster := namedCluster{Name: "peppasync"}
	cluster.Cluster.Server = server
	cluster.Cluster.CertificateAuthority = i.caPEM
	account := namedUser{Name: user}
	account.User.Token = i.tokens[user]
	context := namedContext{Name: "peppasync"}
	context.Context.Cluster, context.Context.User = cluster.Name, account.Name
	data, err := json.MarshalIndent(kubeconfig{
		APIVersion: "v1", Kind: "Config",
		Clusters: []namedCluster{cluster}, Users: []namedUser{account}, Contexts: []namedContext{context},
		CurrentContext: context.Name,
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, append(data, '\n'), 0o600)
}
