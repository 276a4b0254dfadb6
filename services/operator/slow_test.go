package operator_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/peppasync/peppasync/services/operator"
)

// Whoever opens a connection to admission and is slow to ask does not keep it, and whoever
// asks with more than an object can be is told so; the API server is answered meanwhile.
func TestAdmissionIsHeldByNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.admitted()
	begun := map[string]string{
		"a head without an end": "POST " + operator.AdmissionPath + " HTTP/1.1\r\nHost: a\r\n",
		"a body without an end": "POST " + operator.AdmissionPath + " HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
	}
	closed := make(chan error, len(begun))
	for what, text := range begun {
		connection := dial(t, r.admission)
		if _, err := io.WriteString(connection, text); err != nil {
			t.Fatal(err)
		}
		if err := connection.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := io.Copy(io.Discard, connection)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				closed <- fmt.Errorf("%s holds its connection for more than %v", what, patience)
				return
			}
			closed <- nil
		}()
	}
	for _, object := range w.read("netsuite.yaml") {
		w.must(api.client.Create(t.Context(), object, client.DryRunAll))
	}
	w.tooLarge(r.admission)
	for range begun {
		if err := <-closed; err != nil {
			t.Error(err)
		}
	}
}

// tooLarge asks with more than the API server ever sends.
func (w *world) tooLarge(address string) {
	w.t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, "https://"+address+operator.AdmissionPath, bytes.NewReader(make([]byte, 8<<20)))
	w.must(err)
	request.Header.Set("Content-Type", "application/json")
	response, err := (&http.Client{Transport: transport}).Do(request)
	w.must(err)
	defer func() { _ = response.Body.Close() }()
	var review admissionv1.AdmissionReview
	w.must(json.NewDecoder(response.Body).Decode(&review))
	if review.Response == nil || review.Response.Allowed || review.Response.Result.Code != http.StatusRequestEntityTooLarge {
		w.t.Errorf("8 MB are answered with %+v", review.Response)
	}
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}}
	connection, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}
