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
	// authorityLasts is as long as that of the bus.
	authorityLasts = 10 * lasts
	// renewBefore is well above what a cluster may be switched off for.
	renewBefore = 60 * 24 * time.Hour
	// ahead of its time, for an API server whose clock is behind.
	early = time.Hour
)

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// Make returns the data of a Secret with a certificate for these names and addresses. The
// authority stays, where it is there and outlasts the certificate: what the API server
// trusts does not change then, and replicas that serve the certificate before and those
// that serve this one are trusted alike.
func Make(data map[string][]byte, hosts []string, now time.Time) (map[string][]byte, error) {
	a, ok := authorityOf(data, now)
	if !ok {
		var err error
		if a, err = newAuthority(now); err != nil {
			return nil, err
		}
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
	servingDER, err := x509.CreateCertificate(rand.Reader, serving, a.certificate, servingKey.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate: %w", err)
	}
	made := map[string][]byte{KeyAuthority: encode("CERTIFICATE", a.certificate.Raw), KeyServing: encode("CERTIFICATE", servingDER)}
	for key, private := range map[string]*ecdsa.PrivateKey{KeyAuthorityPrivate: a.key, KeyServingPrivate: servingKey} {
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", key, err)
		}
		made[key] = encode("PRIVATE KEY", der)
	}
	return made, nil
}

func newAuthority(now time.Time) (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, fmt.Errorf("make the key of the authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial(now), Subject: pkix.Name{CommonName: "peppasync-operator admission"},
		NotBefore: now.Add(-early), NotAfter: now.Add(authorityLasts), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, fmt.Errorf("sign the authority: %w", err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		return authority{}, fmt.Errorf("read the authority: %w", err)
	}
	return authority{made, key}, nil
}

// authorityOf returns the authority of a Secret's data; false where there is none that
// could sign another certificate.
func authorityOf(data map[string][]byte, now time.Time) (authority, bool) {
	pair, err := tls.X509KeyPair(data[KeyAuthority], data[KeyAuthorityPrivate])
	if err != nil {
		return authority{}, false
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA || now.Before(pair.Leaf.NotBefore) || now.Add(lasts).After(pair.Leaf.NotAfter) {
		return authority{}, false
	}
	return authority{pair.Leaf, key}, true
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
