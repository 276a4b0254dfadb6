// Package certificate makes the certificate that admission is served with, and the
// authority that signs it.
package certificate

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

// The keys of the Secret that holds them.
const (
	KeyAuthority        = "ca.crt"
	KeyAuthorityPrivate = "ca.key"
	KeyServing          = "tls.crt"
	KeyServingPrivate   = "tls.key"
)

const (
	lasts = 365 * 24 * time.Hour
	// renewBefore is well above what a cluster may be switched off for.
	renewBefore = 60 * 24 * time.Hour
	// ahead of its time, for an API server whose clock is behind.
	early = time.Hour
)

// Make returns the data of a Secret with a new authority and a certificate for these
// names and addresses.
func Make(hosts []string, now time.Time) (map[string][]byte, error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of the authority: %w", err)
	}
	authority := &x509.Certificate{
		SerialNumber: serial(now), Subject: pkix.Name{CommonName: "peppasync-operator admission"},
		NotBefore: now.Add(-early), NotAfter: now.Add(lasts), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	if err != nil {
		return nil, fmt.Errorf("sign the authority: %w", err)
	}
	servingKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of the certificate: %w", err)
	}
	serving := &x509.Certificate{
		SerialNumber: serial(now.Add(time.Nanosecond)), Subject: pkix.Name{CommonName: hosts[0]},
		NotBefore: now.Add(-early), NotAfter: now.Add(lasts),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			serving.IPAddresses = append(serving.IPAddresses, ip)
			continue
		}
		serving.DNSNames = append(serving.DNSNames, host)
	}
	servingDER, err := x509.CreateCertificate(rand.Reader, serving, authority, servingKey.Public(), authorityKey)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate: %w", err)
	}
	data := map[string][]byte{KeyAuthority: encode("CERTIFICATE", authorityDER), KeyServing: encode("CERTIFICATE", servingDER)}
	for key, private := range map[string]*ecdsa.PrivateKey{KeyAuthorityPrivate: authorityKey, KeyServingPrivate: servingKey} {
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", key, err)
		}
		data[key] = encode("PRIVATE KEY", der)
	}
	return data, nil
}

// Serving returns the certificate of a Secret's data, or why a new one has to be made:
// it is missing, is for other names, or ends soon.
func Serving(data map[string][]byte, hosts []string, now time.Time) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(data[KeyServing], data[KeyServingPrivate])
	if err != nil {
		return nil, fmt.Errorf("the certificate cannot be read: %w", err)
	}
	leaf := pair.Leaf
	if now.Add(renewBefore).After(leaf.NotAfter) {
		return nil, fmt.Errorf("the certificate ends at %s", leaf.NotAfter.Format(time.RFC3339))
	}
	for _, host := range hosts {
		if err := leaf.VerifyHostname(host); err != nil {
			return nil, fmt.Errorf("the certificate is for other names: %w", err)
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(data[KeyAuthority])
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now}); err != nil {
		return nil, fmt.Errorf("the certificate is not signed by the authority beside it: %w", err)
	}
	return &pair, nil
}

// Bundles reports whether a caBundle trusts the authority.
func Bundles(bundle []byte, data map[string][]byte) bool {
	return slices.Equal(bytes.TrimSpace(bundle), bytes.TrimSpace(data[KeyAuthority]))
}

func serial(now time.Time) *big.Int { return big.NewInt(now.UnixNano()) }

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
