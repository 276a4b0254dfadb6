package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peppasync/peppasync/services/up"
)

// asCommand makes the test binary the command, for tests that have to kill it.
const asCommand = "PEPPASYNC_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

const demo = "../../deploy/demo"

func execute(ctx context.Context, arguments ...string) (string, error) {
	var out bytes.Buffer
	command := newCommand()
	command.SetArgs(arguments)
	command.SetOut(&out)
	command.SetErr(&out)
	err := command.ExecuteContext(ctx)
	return out.String(), err
}

func TestEveryCommandTeachesItsUse(t *testing.T) {
	for _, command := range newCommand().Commands() {
		if command.Short == "" || command.Example == "" {
			t.Errorf("%s has no summary or no example", command.Name())
		}
		out, err := execute(t.Context(), command.Name(), "--help")
		if err != nil || !strings.Contains(out, command.Example) {
			t.Errorf("%s --help gave %v:\n%s", command.Name(), err, out)
		}
	}
}

func TestCRDCommandsRunAsTheirExamplesSay(t *testing.T) {
	t.Chdir("../..")
	for _, command := range newCRD().Commands() {
		if command.Short == "" || command.Long == "" {
			t.Errorf("crd %s does not say what it does", command.Name())
		}
		for line := range strings.Lines(command.Example) {
			_, arguments, ok := strings.Cut(strings.TrimSpace(line), "peppasync ")
			if !ok || strings.Contains(line, "|") {
				continue
			}
			// The words of an example are those of a folder here.
			folder := map[string]string{"validate": "deploy/demo", "diff": "charts/peppasync/files"}[command.Name()]
			out, err := execute(t.Context(), strings.Fields(strings.Replace(arguments, "./manifests", folder, 1))...)
			if err != nil {
				t.Errorf("%s: %v\n%s", line, err, out)
			}
		}
	}
}

func TestCRDFails(t *testing.T) {
	folder := t.TempDir()
	content := "apiVersion: peppasync.io/v1alpha1\nkind: Connector\nmetadata: {name: erp}\nspec: {system: NetSuite, limits: []}\n"
	if err := os.WriteFile(filepath.Join(folder, "a.yaml"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, output := range []string{"text", "json", "yaml"} {
		out, err := execute(t.Context(), "crd", "validate", "-f", folder, "-o", output)
		if err == nil || !strings.Contains(out, "spec.limits") || !strings.Contains(out, "a.yaml") {
			t.Errorf("-o %s: %v\n%s", output, err, out)
		}
	}
	out, err := execute(t.Context(), "crd", "diff", "-f", folder)
	if err == nil || !strings.Contains(out, "Missing") {
		t.Errorf("diff: %v\n%s", err, out)
	}
	if _, err := execute(t.Context(), "crd", "diff", "-f", folder, "-o", "xml"); err == nil || !strings.Contains(err.Error(), "it must be text, json or yaml") {
		t.Errorf("-o xml: %v", err)
	}
}

func TestMistakesOnTheCommandLine(t *testing.T) {
	for name, test := range map[string]struct {
		arguments []string
		want      string
	}{
		"a flag that is required":  {[]string{"up"}, `required flag(s) "files" not set`},
		"a role without NATS":      {[]string{"logic-gate"}, `required flag(s) "nats" not set`},
		"a command that is not":    {[]string{"upp"}, `unknown command "upp"`},
		"an argument too many":     {[]string{"validate", "-f", demo, "more"}, `unknown command "more"`},
		"a level that is not":      {[]string{"up", "-f", demo, "--log-level", "loud"}, `--log-level is "loud", it must be debug, info, warn or error`},
		"a format that is not":     {[]string{"up", "-f", demo, "--log-format", "xml"}, `--log-format is "xml", it must be text or json`},
		"an address that is not":   {[]string{"up", "-f", demo, "--listen", "here"}, "--listen here:"},
		"a store below nothing":    {[]string{"up", "-f", demo, "--max-store", "-1"}, "--max-store is -1, it must be at least 4194304 bytes"},
		"a member of no cluster":   {[]string{"nats", "--routes", "a:6222"}, "--routes is for a member of a cluster: add --cluster"},
		"a member of nobody's":     {[]string{"nats", "--cluster", "orders", "--cluster-listen", "a:6222"}, "--cluster needs --cluster-listen"},
		"a member without a name":  {[]string{"nats", "--cluster", "orders", "--cluster-listen", "a:6222", "--routes", "a:6222"}, "--cluster needs --name"},
		"a store of nothing":       {[]string{"nats", "--max-store", "1000"}, "--max-store is 1000"},
		"no address for gRPC":      {[]string{"up", "-f", demo, "--listen", "127.0.0.1:0", "--grpc-listen", "here"}, "--grpc-listen here:"},
		"no address for programs":  {[]string{"up", "-f", demo, "--listen", "127.0.0.1:0", "--ingest-grpc-listen", "here"}, "--ingest-grpc-listen here:"},
		"no address of ingest":     {[]string{"ingest", "--nats", "nats://127.0.0.1:1", "--listen", "127.0.0.1:0", "--grpc-listen", "here"}, "--grpc-listen here:"},
		"no secret to import with": {[]string{"import", "x.csv", "--connector", "desk"}, "there is no secret: name a file by --secret-file, or set PEPPASYNC_IMPORT_SECRET"},
		"no secret file":           {[]string{"import", "x.csv", "--connector", "desk", "--secret-file", "/nowhere"}, "--secret-file: open /nowhere"},
		"no address for metrics":   {[]string{"up", "-f", demo, "--metrics-listen", "here"}, "--metrics-listen here:"},
		"a folder that is not":     {[]string{"validate", "-f", "/nowhere"}, "/nowhere"},
		"a folder without files":   {[]string{"validate", "-f", "."}, "1 problem(s)"},
		"a NATS that is not there": {[]string{"apply", "-f", demo, "--nats", "nats://user:hush@127.0.0.1:1"}, "the NATS that --nats names does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			out, err := execute(ctx, test.arguments...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q\n%s", err, test.want, out)
			}
			if err != nil && strings.Contains(err.Error()+out, "hush") {
				t.Errorf("a password is in the error: %v", err)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	out, err := execute(t.Context(), "validate", "-f", demo)
	if err != nil || out != "7 resources are fine\n" {
		t.Errorf("the demo's files gave %q and %v", out, err)
	}
}

// A topic that is most likely misspelt is taken, and named where the files are read.
func TestAdviceIsNoProblem(t *testing.T) {
	folder := t.TempDir()
	files, err := filepath.Glob(filepath.Join(demo, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files of the demo: %v", err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err == nil {
			content = bytes.ReplaceAll(content, []byte("- orders/paid\n"), []byte("- orders/paied\n"))
			err = os.WriteFile(filepath.Join(folder, filepath.Base(file)), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		command []string
		fine    string
	}{
		"validate":     {[]string{"validate", "-f", folder}, "7 resources are fine\n"},
		"crd validate": {[]string{"crd", "validate", "-f", folder}, "are fine\n"},
	} {
		out, err := execute(t.Context(), test.command...)
		if err != nil || !strings.Contains(out, test.fine) || strings.Count(out, "warning: ") != 1 || !strings.Contains(out, "did you mean orders/paid?") {
			t.Errorf("%s gave %q and %v", name, out, err)
		}
	}
}

func TestApplyMakesWhatRolesNeed(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready.json")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := execute(ctx, "nats", "--data", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0", "--ready-file", ready)
		ended <- err
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	url := awaitURL(t, ready)
	for range 2 { // the second time there is nothing to do
		out, err := execute(ctx, "apply", "-f", demo, "--nats", url)
		if err != nil || out != "7 resources applied\n" {
			t.Fatalf("got %q and %v", out, err)
		}
	}
}

func awaitURL(t *testing.T, file string) string {
	t.Helper()
	var at addresses
	awaitReady(t, file, &at)
	return at.NATS
}

func TestRoutesMayHaveBlanks(t *testing.T) {
	c := newNATS()
	if err := c.ParseFlags([]string{"--routes", "a:6222, b:6222 ,c:6222"}); err != nil {
		t.Fatal(err)
	}
	routes, err := c.Flags().GetStringSlice("routes")
	if err != nil {
		t.Fatal(err)
	}
	member, err := membership(c, up.Cluster{Name: "orders", Member: "a", Listen: "a:6222", Routes: routes})
	if err != nil || strings.Join(member.Routes, ",") != "a:6222,b:6222,c:6222" {
		t.Errorf("got %+v, %v; want the routes without blanks", member, err)
	}
}

func TestTheExamplesAreValid(t *testing.T) {
	out, err := execute(t.Context(), "validate", "-f", "../../deploy/examples")
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}
