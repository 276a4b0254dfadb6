package main

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// child runs the command in a process of its own until the test ends.
func child(t *testing.T, environment []string, arguments ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], arguments...)
	c.Env = append(append(os.Environ(), asCommand+"=1"), environment...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return c
}

// The other side is killed in the middle, twice: the import waits for it, and what it
// counts as stored is on the disk that the kills left.
func TestAnImportOutlivesTheOtherSide(t *testing.T) {
	o := &office{dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(o.dir, "config"), 0o700); err != nil {
		t.Fatal(err)
	}
	o.write(t, "config/desk.yaml", strings.Replace(desk, "WMS", "http://127.0.0.1:1", 1))
	ready := filepath.Join(o.dir, "ready.json")
	serve := func(programs string) *exec.Cmd {
		t.Helper()
		_ = os.Remove(ready)
		c := child(t, []string{"PEPPASYNC_SECRET_DESK_SECRET=" + deskSecret, "PEPPASYNC_SECRET_SHOP_ACCESS_TOKEN=token"},
			"up", "-f", filepath.Join(o.dir, "config"), "--data", filepath.Join(o.dir, "data"), "--listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0",
			"--ingest-grpc-listen", programs, "--ready-file", ready, "--max-store", "1000000000", "--log-level", "error")
		awaitReady(t, ready, &o.addresses)
		return c
	}
	up := serve("127.0.0.1:0")
	const orders, kills = 8_000, 2
	var file strings.Builder
	file.WriteString("order_id,note,sku,quantity\n")
	for i := range orders {
		fmt.Fprintf(&file, "A%d,store only,MUG,1\n", i)
	}
	path := o.write(t, "orders.csv", file.String())
	t.Setenv("PEPPASYNC_IMPORT_SECRET", deskSecret)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	type result struct {
		out string
		err error
	}
	ended := make(chan result, 1)
	go func() {
		out, err := execute(ctx, o.importing(path, "-o", "json")...)
		ended <- result{out, err}
	}()
	written := func() int64 {
		info, err := os.Stat(path + ".import-state.json")
		if err != nil {
			return 0
		}
		return info.ModTime().UnixNano()
	}
	for range kills {
		last := written()
		until(t, "further than before", func() bool { return written() > last })
		_ = up.Process.Kill()
		_ = up.Wait()
		select {
		case r := <-ended:
			t.Fatalf("it ended before the kill: %v\n%s", r.err, r.out)
		default:
		}
		up = serve(o.IngestGRPC)
	}
	r := <-ended
	if r.err != nil || !strings.Contains(r.out, `"complete": true`) || !strings.Contains(r.out, `"rejected": 0`) {
		t.Fatalf("it ended with %v\n%s", r.err, r.out)
	}
	counts, twice := o.stored(t), 0
	for i := range orders {
		n := counts[fmt.Sprint("A", i)]
		if n < 1 {
			t.Fatalf("order A%d is not stored", i)
		}
		if n > 1 {
			twice++ // its answer was lost; the order's state settles it
		}
	}
	if twice > kills*500 {
		t.Errorf("%d orders are stored twice, want at most a batch for each kill", twice)
	}
	t.Logf("%d orders are stored twice", twice)
}

// A proxy before ingest may end TLS.
func TestAnImportOverTLS(t *testing.T) {
	o := openOffice(t)
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	certificate, pair := certified.Certificate(), certified.TLS.Certificates[0]
	certified.Close()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() { forward(listener, o.IngestGRPC, &work) })
	defer work.Wait()
	defer listener.Close()
	roots := o.write(t, "roots.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})))
	path := o.write(t, "orders.csv", "order_id,note,sku,quantity\n1,store only,A,1\n")
	arguments := append(o.importing(path), "--server", listener.Addr().String(), "--patience", "1s")
	environment := []string{"PEPPASYNC_IMPORT_SECRET=" + deskSecret, "SSL_CERT_FILE=" + roots, "SSL_CERT_DIR=" + o.dir}
	if err := child(t, environment, arguments...).Wait(); err == nil {
		t.Error("it speaks without TLS to a proxy that wants it")
	}
	if err := child(t, environment, append(arguments, "--tls")...).Wait(); err != nil {
		t.Errorf("over TLS: %v", err)
	}
	if err := child(t, environment[:1], append(arguments, "--tls")...).Wait(); err == nil {
		t.Error("it trusts a certificate that nobody vouches for")
	}
	if counts := o.stored(t); counts["1"] != 1 {
		t.Errorf("stored %v", counts)
	}
}

// forward passes connections on until the listener is closed.
func forward(listener net.Listener, to string, work *sync.WaitGroup) {
	for {
		in, err := listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", to)
		if err != nil {
			_ = in.Close()
			continue
		}
		pass := func(a, b net.Conn) {
			_, _ = io.Copy(a, b)
			_ = a.Close()
			_ = b.Close()
		}
		work.Go(func() { pass(in, out) })
		work.Go(func() { pass(out, in) })
	}
}
