package bootstrap

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"
)

// validity of both certificates. They are for a few servers that know each other and
// never leave their network; one that runs out unseen stops every order. To make a new
// one, delete what is stored and run bootstrap again.
const validity = 10 * 365 * 24 * time.Hour

// skew is how far a clock may be behind that checks a certificate made just now.
const skew = time.Hour

func makeAuthority(now time.Time) (map[string][]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := newTemplate("Peppasync NATS", now)
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	return sign(template, template, key, key, KeyCA, KeyCASeed)
}

// makeCertificate is for both ends of a connection between servers, each of which checks
// the other.
func makeCertificate(authority map[string][]byte, hosts []string, now time.Time) (map[string][]byte, error) {
	if len(hosts) == 0 {
		return nil, errors.New("a certificate needs the names of the servers")
	}
	parent, parentKey, err := parse(authority)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := newTemplate("nats", now)
	if err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	made, err := sign(template, parent, key, parentKey, KeyCertificate, KeyPrivate)
	if err != nil {
		return nil, err
	}
	made[KeyCA] = authority[KeyCA]
	return made, nil
}

func newTemplate(name string, now time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-skew), NotAfter: now.Add(validity),
	}, nil
}

func sign(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey, certificateName, keyName string) (map[string][]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		certificateName: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyName:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}, nil
}

// parse reads what makeAuthority made. Its errors do not hold the key.
func parse(authority map[string][]byte) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certificate, private := blockOf(authority[KeyCA]), blockOf(authority[KeyCASeed])
	if certificate == nil || private == nil {
		return nil, nil, fmt.Errorf("the CA that is stored lacks %s or %s", KeyCA, KeyCASeed)
	}
	parent, err := x509.ParseCertificate(certificate)
	if err != nil {
		return nil, nil, fmt.Errorf("%s of the CA: %w", KeyCA, err)
	}
	key, err := x509.ParsePKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("%s of the CA is no key that bootstrap made", KeyCASeed)
	}
	pair, is := key.(*ecdsa.PrivateKey)
	if !is {
		return nil, nil, fmt.Errorf("%s of the CA is no key that bootstrap made", KeyCASeed)
	}
	return parent, pair, nil
}

func blockOf(text []byte) []byte {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil
	}
	return block.Bytes
}
