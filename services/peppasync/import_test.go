package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/peppasync/peppasync/proto/peppasync/event/v1"
	"github.com/peppasync/peppasync/services/internal/bus"
)

const deskSecret = "the-desks-secret"

const desk = `apiVersion: peppasync.io/v1alpha1
kind: Connector
metadata: {name: desk}
spec:
  system: GRPC
  webhook: {secretRef: {name: desk}}
---
apiVersion: peppasync.io/v1alpha1
kind: Connector
metadata: {name: shop}
spec:
  system: Shopify
  endpoint: https://example.myshopify.com
  auth: {secretRef: {name: shop}}
  webhook: {secretRef: {name: desk}}
  limits: [{name: parallel, concurrency: {calls: 1}}]
---
apiVersion: peppasync.io/v1alpha1
kind: Connector
metadata: {name: wms}
spec:
  system: HTTP
  endpoint: WMS
  limits: [{name: parallel, concurrency: {calls: 10}}]
  http:
    operations:
      - {name: putOrder, method: PUT, path: "/orders/{externalId}", effect: Idempotent}
---
apiVersion: peppasync.io/v1alpha1
kind: Flow
metadata: {name: orders}
spec:
  from: [{connector: desk, topics: [orders/create]}, {connector: shop, topics: [orders/updated]}]
  when: order.note != "store only"
  deliver:
    - {name: wms, connector: wms, operation: putOrder, lane: standard, mapping: "{'skus': order.lines.map(l, l.sku)}"}
`

// warehouse takes orders and remembers what it was told of each.
type warehouse struct {
	mu     sync.Mutex
	orders map[string]string
}

func (w *warehouse) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.orders[strings.TrimPrefix(r.URL.Path, "/orders/")] = string(body)
	out.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(out, "{}")
}

func (w *warehouse) has(id string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.orders[id]
}

// office is an "up" that takes orders in over gRPC, and the warehouse that it feeds.
type office struct {
	addresses
	*warehouse
	dir string
}

func openOffice(t *testing.T) *office {
	t.Helper()
	o := &office{warehouse: &warehouse{orders: map[string]string{}}, dir: t.TempDir()}
	server := httptest.NewServer(o.warehouse)
	t.Cleanup(server.Close)
	config := filepath.Join(o.dir, "config")
	if err := os.Mkdir(config, 0o700); err != nil {
		t.Fatal(err)
	}
	o.write(t, "config/desk.yaml", strings.Replace(desk, "WMS", server.URL, 1))
	t.Setenv("PEPPASYNC_SECRET_DESK_SECRET", deskSecret)
	t.Setenv("PEPPASYNC_SECRET_SHOP_ACCESS_TOKEN", "token")
	ready := filepath.Join(o.dir, "ready.json")
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := execute(ctx, "up", "-f", config, "--data", filepath.Join(o.dir, "data"), "--listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0",
			"--ingest-grpc-listen", "127.0.0.1:0", "--ready-file", ready, "--max-store", "1000000000")
		ended <- err
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	awaitReady(t, ready, &o.addresses)
	return o
}

func (o *office) write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(o.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (o *office) importing(file string, more ...string) []string {
	return append([]string{"import", file, "--server", o.IngestGRPC, "--connector", "desk"}, more...)
}

// stored counts the events on disk by their order's id.
func (o *office) stored(t *testing.T) map[string]int {
	t.Helper()
	b, err := bus.Connect(t.Context(), bus.Options{URL: o.NATS, Name: "test", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	counts := map[string]int{}
	for record, err := range b.Read(t.Context(), bus.IngestStream(0), bus.IngestSubject(0), 1) {
		if err != nil {
			t.Fatal(err)
		}
		var pack eventv1.Pack
		if err := proto.Unmarshal(record.Data, &pack); err != nil {
			t.Fatal(err)
		}
		for _, e := range pack.GetEvents() {
			counts[e.GetOrder().GetId()]++
		}
	}
	return counts
}

// rejected reads a file of rejects.
func rejected(t *testing.T, file string) [][]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	again, late := time.NewTicker(20*time.Millisecond), time.After(60*time.Second)
	defer again.Stop()
	for !condition() {
		select {
		case <-again.C:
		case <-late:
			t.Fatal("not " + what)
		}
	}
}

// The README's files and commands do what it says.
func TestTheReadmesImports(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(readme), "### Orders from files")
	section, _, ends := strings.Cut(section, "\n### ")
	if !found || !ends {
		t.Fatal("the README has no section about files")
	}
	block := func(kind string) string {
		_, text, _ := strings.Cut(section, "```"+kind+"\n")
		text, _, _ = strings.Cut(text, "```")
		return text
	}
	o := openOffice(t)
	o.write(t, "orders.csv", block("csv"))
	o.write(t, "orders.ndjson", block("json"))
	secret := o.write(t, "secret", deskSecret+"\n")
	commands := strings.Split(strings.TrimSpace(block("sh")), "\n")
	for _, command := range commands {
		command = strings.NewReplacer("127.0.0.1:9091", o.IngestGRPC, "./secrets/desk/secret", secret, "import orders", "import "+o.dir+"/orders").Replace(command)
		out, err := execute(t.Context(), strings.Fields(command)[1:]...)
		if err != nil || strings.Contains(out, deskSecret) {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	if len(commands) != 2 {
		t.Errorf("%d commands, want 2", len(commands))
	}
	for id, want := range map[string]string{"desk-1001": `{"skus":["MUG-RED","SPOON"]}`, "desk-1002": `{"skus":["MUG-RED"]}`, "desk-1003": `{"skus":["SPOON"]}`} {
		until(t, "at the warehouse: "+id+" "+want, func() bool { return strings.ReplaceAll(o.has(id), " ", "") == want })
	}
}

// Killed again and again, an import ends with every order stored once, and every wrong
// line among the rejects once.
func TestAnImportIsKilledAndGoesOn(t *testing.T) {
	o := openOffice(t)
	const orders, kills = 8_000, 6
	var file strings.Builder
	file.WriteString("order_id,note,sku,quantity,total\n")
	wrong := 0
	for i := range orders {
		total := "10.00"
		switch i % 1000 {
		case 7: // ingest refuses it
			total, wrong = "ten", wrong+1
		case 8: // nobody can read it
			total, wrong = "1,2,3", wrong+1
		}
		fmt.Fprintf(&file, "A%d,store only,MUG,1,%s\nA%d,,CUP,2,\n", i, total, i)
	}
	path := o.write(t, "orders.csv", file.String())
	state := path + ".import-state.json"
	offset := func() (s struct{ Offset, Orders int64 }) {
		data, err := os.ReadFile(state)
		if err == nil {
			err = json.Unmarshal(data, &s)
		}
		if err != nil {
			s.Offset = -1
		}
		return s
	}
	killed := 0
	for last := int64(0); killed < kills; killed++ {
		child := exec.CommandContext(t.Context(), os.Args[0], o.importing(path)...)
		child.Env = append(os.Environ(), asCommand+"=1", "PEPPASYNC_IMPORT_SECRET="+deskSecret)
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, "further than before", func() bool { return offset().Offset > last })
		_ = child.Process.Kill()
		_ = child.Wait()
		if last = offset().Offset; last < 0 {
			t.Fatal("it was faster than the kill")
		}
		// What a run wrote behind its last state is written again.
		if rejects, err := os.OpenFile(path+".rejects.csv", os.O_APPEND|os.O_WRONLY, 0); err == nil {
			_, _ = rejects.WriteString("7,half a li")
			_ = rejects.Close()
		}
	}
	t.Setenv("PEPPASYNC_IMPORT_SECRET", deskSecret)
	before := offset()
	out, err := execute(t.Context(), o.importing(path, "-o", "json")...)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%d of %d orders are not taken", wrong, orders)) {
		t.Fatalf("it ended with %v\n%s", err, out)
	}
	var summary struct {
		Orders, Stored, Repetitions, Rejected int64
		Complete                              bool
	}
	if err := json.Unmarshal([]byte(out[strings.IndexByte(out, '{'):]), &summary); err != nil || summary.Orders != orders || summary.Rejected != int64(wrong) ||
		summary.Stored+summary.Repetitions != int64(orders-wrong) || !summary.Complete {
		t.Errorf("summary %s (%v)", out, err)
	}
	t.Logf("killed %d times, the last time after %d orders; %d were handed in twice", killed, before.Orders, summary.Repetitions)
	counts := o.stored(t)
	for i := range orders {
		want := 1
		if i%1000 == 7 || i%1000 == 8 {
			want = 0
		}
		if n := counts[fmt.Sprint("A", i)]; n != want {
			t.Fatalf("order A%d is stored %d times, want %d", i, n, want)
		}
	}
	rows := rejected(t, path+".rejects.csv")
	if len(rows) != wrong+1 || rows[1][0] != "16" || !strings.HasPrefix(rows[1][1], `order.total is "ten"`) || rows[1][2] != "A7,store only,MUG,1,ten\nA7,,CUP,2," ||
		rows[2][0] != "18" || rows[2][1] != "has 7 cells, expected 5 as in the first line" {
		t.Errorf("%d rejects, want %d: %q", len(rows)-1, wrong, rows[:min(3, len(rows))])
	}
	if _, err := os.Stat(state); err == nil {
		t.Error("the state is left behind")
	}
	if left, err := filepath.Glob(filepath.Join(o.dir, "*")); err != nil || len(left) != 5 {
		t.Errorf("left behind: %v", left)
	}
}

func TestImportsThatCannotBe(t *testing.T) {
	o := openOffice(t)
	t.Setenv("PEPPASYNC_IMPORT_SECRET", deskSecret)
	path := o.write(t, "orders.csv", "order_id,sku,quantity\n1,A,1\n")
	for name, test := range map[string]struct {
		arguments []string
		want      string
	}{
		"no file":                  {o.importing("/nowhere.csv"), "open /nowhere.csv"},
		"a folder":                 {o.importing(o.dir, "--type", "csv"), "is no file"},
		"a type that is not":       {o.importing(o.write(t, "orders.xml", "<x/>")), `the type is ".xml", expected csv or ndjson`},
		"a format that is not":     {o.importing(path, "--format", "xml"), `the format is "xml"`},
		"bodies in CSV":            {o.importing(path, "--format", "source"), "a CSV file holds orders"},
		"a column that is not":     {o.importing(o.write(t, "other.csv", "order_id,colour\n")), `column 2 is called "colour"`},
		"a delimiter that is not":  {o.importing(path, "--delimiter", "ab"), `--delimiter is "ab"`},
		"a renaming that is not":   {o.importing(path, "--column", "=x"), `--column is "=x"`},
		"a zone that is not":       {o.importing(path, "--time-zone", "Mars"), `--time-zone is "Mars"`},
		"an output that is not":    {o.importing(path, "-o", "xml"), `--output is "xml"`},
		"an unknown connector":     {append(o.importing(path), "--connector", "nobody"), `ingest does not know the connector: there is no connector "nobody"`},
		"a secret that is not":     {o.importing(path, "--secret-file", o.write(t, "guess", "guess")), "ingest refuses the secret"},
		"a secret not to be sent":  {o.importing(path, "--secret-file", o.write(t, "umlaut", "schlüssel")), "the secret cannot be sent"},
		"nobody there":             {append(o.importing(path), "--server", "127.0.0.1:1", "--patience", "100ms"), "nothing was taken for 100ms (--patience): ingest: "},
		"a state that is none":     {o.importing(path, "--state", o.write(t, "state", "{}")), "does not say how far an import came"},
		"a place for no state":     {o.importing(path, "--state", "/nowhere/state"), "how far the import came cannot be written down"},
		"a place for no rejects":   {o.importing(o.write(t, "bad.csv", "order_id\n1,2\n"), "--rejects", "/nowhere/rejects"), "what is not taken cannot be written down"},
		"bodies that nobody reads": {o.importing(o.write(t, "bodies.ndjson", "{}\n"), "--format", "source"), "1 of 1 orders are not taken"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := execute(t.Context(), test.arguments...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q\n%s", err, test.want, out)
			}
			if strings.Contains(out, deskSecret) || err != nil && strings.Contains(err.Error(), deskSecret) {
				t.Error("the secret is shown")
			}
		})
	}
}

// A file that is imported twice stores nothing twice.
func TestAFileIsImportedTwice(t *testing.T) {
	o := openOffice(t)
	t.Setenv("PEPPASYNC_IMPORT_SECRET", deskSecret)
	path := o.write(t, "orders.csv", "order_id,note,sku,quantity\n1,store only,A,1\n2,store only,A,1\n")
	if out, err := execute(t.Context(), o.importing(path)...); err != nil || !strings.Contains(out, "STORED  BEFORE") {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := execute(t.Context(), o.importing(path, "-o", "json")...)
	if err != nil || !strings.Contains(out, `"repetitions": 2`) {
		t.Errorf("the same file again: %v\n%s", err, out)
	}
	if counts := o.stored(t); counts["1"] != 1 || counts["2"] != 1 {
		t.Errorf("stored %v", counts)
	}
}

// A topic that the shop does not know is no line's fault: the import ends and says which
// ones it may be.
func TestATopicThatNobodyKnows(t *testing.T) {
	o := openOffice(t)
	t.Setenv("PEPPASYNC_IMPORT_SECRET", deskSecret)
	path := o.write(t, "orders.csv", "order_id,sku,quantity\n1,A,1\n2,A,1\n")
	out, err := execute(t.Context(), append(o.importing(path, "--topic", "orders/updatet"), "--connector", "shop")...)
	if err == nil || !strings.Contains(err.Error(), `--topic: found "orders/updatet", expected`) || !strings.Contains(err.Error(), "orders/updated") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(path + ".rejects.csv"); err == nil {
		if rows := rejected(t, path+".rejects.csv"); len(rows) > 1 {
			t.Errorf("rejects %q", rows)
		}
	}
	if out, err := execute(t.Context(), append(o.importing(path, "--topic", "orders/updated"), "--connector", "shop")...); err != nil {
		t.Errorf("under another topic: %v\n%s", err, out)
	}
}

// What a shop sends in webhooks is read by its own source.
func TestBodiesOfASource(t *testing.T) {
	o := openOffice(t)
	t.Setenv("PEPPASYNC_IMPORT_SECRET", deskSecret)
	path := o.write(t, "webhooks.jsonl", `{"id": 7, "updated_at": "2026-11-27T14:47:00Z", "line_items": [{"id": 1, "sku": "CUP", "quantity": 1, "current_quantity": 1}]}`+"\n[]\n")
	out, err := execute(t.Context(), append(o.importing(path, "--format", "source", "--topic", "orders/updated"), "--connector", "shop")...)
	if err == nil || !strings.Contains(err.Error(), "1 of 2 orders are not taken") {
		t.Errorf("%v\n%s", err, out)
	}
	until(t, "at the warehouse", func() bool { return strings.Contains(o.has("shop-7"), "CUP") })
	if rows := rejected(t, path+".rejects.csv"); len(rows) != 2 || rows[1][0] != "2" || !slices.Contains(rows[1], "[]") {
		t.Errorf("rejects %q", rows)
	}
}
