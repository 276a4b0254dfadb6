package operator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/peppasync/peppasync/services/operator/internal/certificate"
)

const (
	// AdmissionPath is where admission is served.
	AdmissionPath = "/validate"
	// certificateEvery is how often it is looked whether another replica has made a new
	// certificate, and whether it is still trusted.
	certificateEvery = 20 * time.Second
	headerTimeout    = 5 * time.Second
	shutdownTimeout  = 5 * time.Second
	// The API server gives an answer up after 10 s (timeoutSeconds); whoever else reaches the
	// port, and is slower to ask or to listen, holds a connection for no longer. One that is
	// not used is kept as long as the API server keeps its own.
	readTimeout  = 10 * time.Second
	writeTimeout = 20 * time.Second
	idleTimeout  = 2 * time.Minute
	// What is asked is at most an object of 3 MB before and after, which the handler sees to.
	headerBytes = 64 << 10
)

// serving is the certificate of admission, and what is behind it. Each replica has it.
type serving struct {
	*operator
	mu      sync.Mutex
	current *tls.Certificate
}

func newServing(o *operator) *serving { return &serving{operator: o} }

// keep keeps the certificate, and the trust in it.
func (s *serving) keep(ctx context.Context) error {
	return s.supervised(ctx, "keeping the certificate of admission", func(ctx context.Context) error {
		said := ""
		for {
			err := s.kept(ctx)
			if ctx.Err() != nil {
				return nil //nolint:nilerr // told to stop, which may be why it failed
			}
			pause := certificateEvery
			if err != nil {
				pause = againAfter
				if text := err.Error(); text != said {
					said = text
					s.log.ErrorContext(ctx, "admission is not served as it should be; it is tried again", "error", err)
				}
			} else {
				said = ""
			}
			if !wait(ctx, pause) {
				return nil
			}
		}
	})
}

func (s *serving) kept(ctx context.Context) error {
	data, err := s.secret(ctx)
	if err != nil {
		return err
	}
	pair, err := certificate.Serving(data, s.config.AdmissionHosts, time.Now())
	if err != nil {
		return err
	}
	if err := s.trust(ctx, data); err != nil {
		return err
	}
	s.mu.Lock()
	s.current = pair
	s.mu.Unlock()
	s.ready.certificate.Store(true)
	return nil
}

// secret returns what the Secret holds, after putting a new certificate in where that is
// no good. Of several replicas that do, one wins; the others read what it wrote.
func (s *serving) secret(ctx context.Context) (map[string][]byte, error) {
	name := types.NamespacedName{Namespace: s.config.Namespace, Name: s.config.AdmissionSecret}
	for {
		var secret corev1.Secret
		if err := s.reader.Get(ctx, name, &secret); err != nil {
			return nil, fmt.Errorf("read Secret %s, which the chart makes: %w", name.Name, err)
		}
		_, reason := certificate.Serving(secret.Data, s.config.AdmissionHosts, time.Now())
		if reason == nil {
			return secret.Data, nil
		}
		made, err := certificate.Make(secret.Data, s.config.AdmissionHosts, time.Now())
		if err != nil {
			return nil, err
		}
		secret.Data = made
		err = s.client.Update(ctx, &secret)
		switch {
		case err == nil:
			s.log.InfoContext(ctx, "made a certificate for admission", "because", reason)
			return made, nil
		case !apierrors.IsConflict(err):
			return nil, fmt.Errorf("write Secret %s: %w", name.Name, err)
		}
	}
}

// trust makes the API server trust the certificate.
func (s *serving) trust(ctx context.Context, data map[string][]byte) error {
	var configuration admissionregistrationv1.ValidatingWebhookConfiguration
	if err := s.reader.Get(ctx, types.NamespacedName{Name: s.config.AdmissionConfiguration}, &configuration); err != nil {
		return fmt.Errorf("read ValidatingWebhookConfiguration %s, which the chart makes: %w", s.config.AdmissionConfiguration, err)
	}
	changed := false
	for i := range configuration.Webhooks {
		client := &configuration.Webhooks[i].ClientConfig
		if !certificate.Bundles(client.CABundle, data) {
			client.CABundle, changed = data[certificate.KeyAuthority], true
		}
	}
	if !changed {
		return nil
	}
	if err := s.client.Update(ctx, &configuration); err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("write the caBundle of ValidatingWebhookConfiguration %s: %w", s.config.AdmissionConfiguration, err)
	}
	return nil
}

func (s *serving) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return nil, errors.New("there is no certificate yet")
	}
	return s.current, nil
}

// serve answers the API server.
func (s *serving) serve(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("POST "+AdmissionPath, &admission.Webhook{Handler: admission.HandlerFunc(s.admit)})
	config := &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: s.certificate, NextProtos: []string{"h2", "http/1.1"}}
	return serve(ctx, admissionServer(mux), tls.NewListener(s.config.Admission, config))
}

// admissionServer bounds what one connection may cost: anybody in the cluster may open one.
func admissionServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: headerBytes,
	}
}
