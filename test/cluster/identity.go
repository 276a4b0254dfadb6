package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// validity of all certificates: longer than anybody leaves a test's node running.
const validity = 30 * 24 * time.Hour

// policyUser may read what network policies speak of.
const policyUser = "peppasync:network-policies"

// identity is what a cluster knows its members by: an authority, the API
// server's certificate and a token for each user, all made anew for each start.
type identity struct {
	dir    string
	ca     *x509.Certificate
	caKey  *ecdsa.PrivateKey
	caPEM  []byte
	tokens map[string]string
}

// users, and the groups that their tokens put them into.
func users(node string) map[string]string {
	return map[string]string{
		"admin":                          "system:masters",
		"system:node:" + node:            "system:nodes",
		"system:kube-controller-manager": "",
		"system:kube-scheduler":          "",
		"system:kube-proxy":              "",
		policyUser:                       "",
	}
}

// newIdentity writes the authority, the tokens and the key of service
// accounts into dir.
func newIdentity(dir, node string) (*identity, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	i := &identity{dir: dir, tokens: map[string]string{}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "peppasync test cluster"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := i.sign(template, template, key, key)
	if err != nil {
		return nil, err
	}
	if i.ca, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	i.caKey, i.caPEM = key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := i.writePair("ca", der, key); err != nil {
		return nil, err
	}
	if err := i.newServiceAccountKey(); err != nil {
		return nil, err
	}
	var table strings.Builder
	for user, group := range users(node) {
		token := make([]byte, 16)
		if _, err := rand.Read(token); err != nil {
			return nil, err
		}
		i.tokens[user] = hex.EncodeToString(token)
		fmt.Fprintf(&table, "%s,%s,%s,%q\n", i.tokens[user], user, user, group)
	}
	if err := i.write("tokens.csv", []byte(table.String())); err != nil {
		return nil, err
	}
	return i, nil
}

func (i *identity) newServiceAccountKey() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	if err := i.write("service-accounts.key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})); err != nil {
		return err
	}
	return i.write("service-accounts.pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
}

// issueServer makes NAME.crt and NAME.key for a server at these addresses.
func (i *identity) issueServer(name string, dns []string, addresses ...string) error {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		DNSNames:    dns,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, address := range addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(address))
	}
	return i.issue(name, template)
}

// issueClient makes NAME.crt and NAME.key for a user of a group.
func (i *identity) issueClient(name, group string) error {
	return i.issue(name, &x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: []string{group}},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func (i *identity) issue(name string, template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := i.sign(template, i.ca, key, i.caKey)
	if err != nil {
		return err
	}
	return i.writePair(name, der, key)
}

func (*identity) sign(template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	signed := *template
	signed.SerialNumber = serial
	signed.NotBefore = time.Now().Add(-time.Hour)
	signed.NotAfter = time.Now().Add(validity)
	return x509.CreateCertificate(rand.Reader, &signed, parent, &key.PublicKey, signer)
}

func (i *identity) writePair(name string, certificate []byte, key *ecdsa.PrivateKey) error {
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	if err := i.write(name+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})); err != nil {
		return err
	}
	return i.write(name+".key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}))
}

func (i *identity) write(name string, data []byte) error {
	return os.WriteFile(i.file(name), data, 0o600)
}

func (i *identity) file(name string) string { return filepath.Join(i.dir, name) }
