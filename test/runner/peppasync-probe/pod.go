package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// apiServer is the Service that every cluster has.
const apiServer = "https://kubernetes.default.svc"

// readSecret asks the API server for a Secret, with the pod's own token, and returns the
// status of the answer. What is in it is not read.
func readSecret(ctx context.Context, account, name string) (int, error) {
	read := func(file string) (string, error) {
		data, err := os.ReadFile(filepath.Join(account, file))
		return strings.TrimSpace(string(data)), err
	}
	token, err := read("token")
	if err != nil {
		return 0, err
	}
	namespace, err := read("namespace")
	if err != nil {
		return 0, err
	}
	authority, err := read("ca.crt")
	if err != nil {
		return 0, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(authority)) {
		return 0, fmt.Errorf("no certificate in %s/ca.crt", account)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	url := fmt.Sprintf("%s/api/v1/namespaces/%s/secrets/%s", apiServer, namespace, name)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// reachTimeout is how long a connection may take that nothing stands in the way of: a
// network policy drops what it does not allow, so that a refusal is a silence.
const reachTimeout = 3 * time.Second

func reaches(ctx context.Context, address string) bool {
	conn, err := (&net.Dialer{Timeout: reachTimeout}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}
