package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	ingestv1 "github.com/peppasync/peppasync/proto/peppasync/ingest/v1"
	"github.com/peppasync/peppasync/services/peppasync/internal/importer"
	"github.com/peppasync/peppasync/services/peppasync/internal/orderfile"
)

// importSecret is the variable that holds the connector's secret.
const importSecret = "PEPPASYNC_IMPORT_SECRET" //nolint:gosec // its name

// imported is what the flags say.
type imported struct {
	importer.Config

	server, secretFile, output, delimiter, zone string
	columns                                     []string
	tls                                         bool
}

func newImport() *cobra.Command {
	asked := &imported{}
	c := &cobra.Command{
		Use:   "import FILE --connector NAME --server ADDR",
		Short: "Hand the orders of a file in: CSV or NDJSON",
		Long: `Hands the orders of a file in to ingest, over gRPC, as if each had come by a webhook.
What is taken is on disk. Interrupted or killed, it goes on where it was when it is run
again; an order that is handed in twice is handled once. What they lead to waits in the lane bulk
of each connector, and live orders overtake it, unless you say --bulk=false. What is not taken is in the file of
rejects, with its line and the reason, and the exit code is 1.

CSV: the first line names the columns: order_id (needed), name, created_at, updated_at,
cancelled_at, currency, total, subtotal, total_tax, outstanding, financial_status,
fulfillment_status, customer_id, email, phone, first_name, last_name, note, tags, channel,
test, shipping_name and the like (company, address1, address2, city, province_code,
postal_code, country_code, phone), the same with billing_, shipping_code, shipping_title,
shipping_price, attribute:NAME; and of each line of the order sku, quantity, price, title,
line_id, variant_id, requires_shipping, property:NAME. Lines that follow each other with the
same order_id are one order. A column that is called otherwise is named by --column.

NDJSON: an order on each line, in the JSON form of peppasync.order.v1.Order; or with
--format source what the connector's system sends in a webhook of --topic.

The secret is that of the connector's webhooks (spec.webhook.secretRef, key secret), from
--secret-file or the variable ` + importSecret + `.`,
		Example: `  peppasync up -f ./config --ingest-grpc-listen 127.0.0.1:9091
  peppasync import orders.csv --connector desk --server 127.0.0.1:9091 --secret-file ./secrets/desk/secret
  peppasync import export.csv --connector desk --delimiter ';' --column 'Order No=order_id' --column 'Memo='
  peppasync import webhooks.ndjson --format source --connector shop --topic orders/updated -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, arguments []string) error {
			asked.File = arguments[0]
			if err := asked.complete(os.Getenv); err != nil {
				return err
			}
			return asked.run(c)
		},
	}
	f := c.Flags()
	f.StringVar(&asked.Connector, "connector", "", "whose orders they are (required)")
	f.StringVar(&asked.Topic, "topic", "orders/create", "which flows take them (spec.from of the Flow); one that the connector's system knows")
	f.StringVar(&asked.server, "server", "127.0.0.1:9091", "where ingest takes orders in over gRPC")
	f.BoolVar(&asked.tls, "tls", false, "speak TLS with it: with the proxy before it")
	f.StringVar(&asked.secretFile, "secret-file", "", "file with the connector's secret (default: $"+importSecret+")")
	f.StringVar(&asked.Type, "type", "", "csv or ndjson (default: by the file's name)")
	f.StringVar(&asked.Format, "format", importer.FormatOrder, "what NDJSON holds: order, or source for what the connector's system sends")
	f.StringVar(&asked.delimiter, "delimiter", ",", `what separates the cells of CSV, such as ";" or "\t"`)
	f.StringArrayVar(&asked.columns, "column", nil, "THEIRS=OURS: what a column of CSV is; THEIRS= for one that is of no use")
	f.StringVar(&asked.zone, "time-zone", "UTC", "the zone of times in CSV that do not say theirs, such as Europe/Berlin")
	f.StringVar(&asked.Rejects, "rejects", "", "file for what is not taken (default: FILE.rejects.csv)")
	f.StringVar(&asked.State, "state", "", "file that says how far it came (default: FILE.import-state.json)")
	f.BoolVar(&asked.Bulk, "bulk", true, "let live orders overtake them; false for the lanes of the steps, in the order of arrival")
	f.BoolVar(&asked.Restart, "restart", false, "begin at the file's beginning, however far an earlier run came")
	f.DurationVar(&asked.Patience, "patience", 10*time.Minute, "how long to go on while nothing is taken")
	f.StringVarP(&asked.output, "output", "o", "table", "table or json")
	required(c, "connector")
	return c
}

// complete reads what the flags only name.
func (i *imported) complete(environment func(string) string) error {
	if i.output != "table" && i.output != "json" {
		return fmt.Errorf("--output is %q, it must be table or json", i.output)
	}
	var err error
	if i.Secret, err = i.secret(environment); err != nil {
		return err
	}
	comma, size := utf8.DecodeRuneInString(strings.ReplaceAll(i.delimiter, `\t`, "\t"))
	if comma == utf8.RuneError || comma == '"' || comma == '\n' || comma == '\r' || size != len(strings.ReplaceAll(i.delimiter, `\t`, "\t")) {
		return fmt.Errorf(`--delimiter is %q, it must be one character such as ";" or "\t"`, i.delimiter)
	}
	zone, err := time.LoadLocation(i.zone)
	if err != nil {
		return fmt.Errorf("--time-zone is %q, it must be one such as Europe/Berlin: %w", i.zone, err)
	}
	i.CSV = orderfile.Options{Comma: comma, Zone: zone, Columns: make(map[string]string)}
	for _, column := range i.columns {
		// Their names may hold any character, or none: behind a comma at the end of the line.
		at := strings.LastIndexByte(column, '=')
		if at < 1 && column != "=" {
			return fmt.Errorf("--column is %q, it must be THEIRS=OURS, such as 'Order No=order_id'", column)
		}
		i.CSV.Columns[strings.TrimSpace(column[:at])] = strings.TrimSpace(column[at+1:])
	}
	if i.Rejects == "" {
		i.Rejects = i.File + ".rejects.csv"
	}
	if i.State == "" {
		i.State = i.File + ".import-state.json"
	}
	return nil
}

// secret never comes from the command line, which others on the machine can read.
func (i *imported) secret(environment func(string) string) (string, error) {
	secret := environment(importSecret)
	if i.secretFile != "" {
		data, err := os.ReadFile(i.secretFile)
		if err != nil {
			return "", fmt.Errorf("--secret-file: %w", err)
		}
		secret = strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	}
	if secret == "" {
		return "", fmt.Errorf("there is no secret: name a file by --secret-file, or set %s", importSecret)
	}
	if strings.ContainsFunc(secret, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", errors.New("the secret cannot be sent: expected printable ASCII, in one line")
	}
	return secret, nil
}

func (i *imported) run(c *cobra.Command) error {
	conn, err := i.dial()
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // what was answered is on disk
	i.Client = ingestv1.NewIngestServiceClient(conn)
	bar := &progressBar{out: c.ErrOrStderr(), live: isTerminal(c.ErrOrStderr())}
	i.Progress = bar.show
	began := time.Now()
	summary, err := importer.Run(c.Context(), i.Config)
	bar.end()
	if summary.Lines > 0 || err == nil {
		if err := i.write(c.OutOrStdout(), summary, time.Since(began)); err != nil {
			return err
		}
	}
	switch {
	case errors.Is(err, context.Canceled) && c.Context().Err() != nil:
		return errors.New("interrupted; run it again, it goes on from here")
	case err != nil:
		return err
	case summary.Rejected > 0:
		return fmt.Errorf("%d of %d orders are not taken; %s says which lines, and why", summary.Rejected, summary.Orders, summary.Rejects)
	}
	return nil
}

func (i *imported) dial() (*grpc.ClientConn, error) {
	transport := insecure.NewCredentials()
	if i.tls {
		transport = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})
	}
	conn, err := grpc.NewClient(i.server, grpc.WithTransportCredentials(transport))
	if err != nil {
		return nil, fmt.Errorf("--server %s: %w", i.server, err)
	}
	return conn, nil
}

func (i *imported) write(out io.Writer, s importer.Summary, took time.Duration) error {
	if i.output == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(s)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "FILE\tORDERS\tSTORED\tBEFORE\tREJECTED\tLINES\tTOOK") // Flush tells of errors
	_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%s\n", s.File, s.Orders, s.Stored, s.Repetitions, s.Rejected, s.Lines, took.Round(10*time.Millisecond))
	return w.Flush()
}
