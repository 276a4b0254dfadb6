// Command images builds the container images without Docker: FROM scratch, one
// static binary in each, the same bytes from the same commit, with a bill of
// materials beside them. What is built stands in images.yaml.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/peppasync/peppasync/deploy/images/internal/compile"
	"github.com/peppasync/peppasync/deploy/images/internal/image"
	"github.com/peppasync/peppasync/deploy/images/internal/sbom"
	"github.com/peppasync/peppasync/deploy/images/internal/table"
)

// ours is what the paths of this repository's modules begin with.
const ours = "github.com/peppasync/peppasync"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

// options is what a person may choose.
type options struct {
	root, out, table, registry string
	platforms                  []v1.Platform
	names                      []string
}

func parse(args []string, out io.Writer) (options, error) {
	var o options
	var platforms string
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.Usage = func() {
		fmt.Fprint(out, `Usage: images [flags] [NAME...]

Builds the images of the table, or those named, as OCI archives OUT/NAME.tar, each
with its bill of materials OUT/NAME.sbom.json.

SOURCE_DATE_EPOCH is the time that they say they were created at; without it that is
the time of the commit.

`)
		flags.PrintDefaults()
	}
	flags.StringVar(&o.root, "root", "../..", "the repository")
	flags.StringVar(&o.out, "out", "../../dist/images", "the folder to write")
	flags.StringVar(&o.table, "table", "images.yaml", "what is built")
	flags.StringVar(&o.registry, "registry", "docker.io", "the registry in the images' names")
	flags.StringVar(&platforms, "platforms", "linux/amd64,linux/arm64", "what they are to run on")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.names = flags.Args()
	for text := range strings.SplitSeq(platforms, ",") {
		platform, err := v1.ParsePlatform(strings.TrimSpace(text))
		if err != nil || platform.OS != "linux" || platform.Architecture == "" {
			return o, fmt.Errorf("-platforms: %q must be linux/ARCHITECTURE, such as linux/arm64", text)
		}
		o.platforms = append(o.platforms, *platform)
	}
	return o, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	t, err := table.Read(o.table)
	if err != nil {
		return err
	}
	images, err := t.Select(o.names)
	if err != nil {
		return err
	}
	made, err := readOrigin(ctx, o.root, os.Getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil { //nolint:gosec // what is in it is for everybody
		return err
	}
	for _, wanted := range images {
		tag, err := image.NewReference(o.registry, "peppasync/"+wanted.Name, t.Version)
		if err != nil {
			return fmt.Errorf("image %s: %w", wanted.Name, err)
		}
		b := builder{options: o, table: t, origin: made, image: wanted, tag: tag}
		if err := b.build(ctx, out); err != nil {
			return fmt.Errorf("image %s: %w", wanted.Name, err)
		}
	}
	return nil
}

// builder builds one image for every platform.
type builder struct {
	options options
	table   table.Table
	origin  origin
	image   table.Image
	tag     image.Reference
}

func (b builder) build(ctx context.Context, out io.Writer) error {
	folder, err := os.MkdirTemp("", "images-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }() // the system's folder for what may stay
	archive := image.Archive{Tag: b.tag, Labels: b.labels()}
	var binaries []sbom.Binary
	for _, platform := range b.options.platforms {
		binary := filepath.Join(folder, strings.ReplaceAll(platform.String(), "/", "-"))
		err := compile.Build(ctx, compile.Request{
			Folder: filepath.Join(b.options.root, b.image.Folder), Package: b.image.Package,
			OS: platform.OS, Architecture: platform.Architecture,
			Stamp: b.image.Stamp, Version: b.table.Version, Output: binary,
		})
		if err != nil {
			return err
		}
		img, err := image.New(binary, image.Options{
			Name: b.image.Name, Platform: platform, Created: b.origin.time, Labels: archive.Labels,
		})
		if err != nil {
			return err
		}
		archive.Images = append(archive.Images, img)
		binaries = append(binaries, sbom.Binary{Path: binary, Platform: platform.String()})
	}
	path := filepath.Join(b.options.out, b.image.Name+".tar")
	digest, err := archive.WriteFile(path)
	if err != nil {
		return err
	}
	if err := b.writeBill(digest, binaries); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s  %s@%s  %.1f MB\n", path, b.tag, digest, float64(info.Size())/1e6)
	return nil
}

func (b builder) writeBill(digest v1.Hash, binaries []sbom.Binary) error {
	var bill strings.Builder
	err := sbom.Write(&bill, sbom.Subject{
		Name: b.image.Name, Repository: b.tag.Repository(), Version: b.table.Version, Digest: digest.String(),
		Description: b.image.Description, Licenses: b.image.Licenses,
		Created: b.origin.time, Ours: ours, Binaries: binaries,
	})
	if err != nil {
		return err
	}
	//nolint:gosec // what is in an image is for everybody to read
	return os.WriteFile(filepath.Join(b.options.out, b.image.Name+".sbom.json"), []byte(bill.String()), 0o644)
}

func (b builder) labels() map[string]string {
	const prefix = "org.opencontainers.image."
	return map[string]string{
		prefix + "title":       b.image.Title,
		prefix + "description": b.image.Description,
		prefix + "licenses":    b.image.Licenses,
		prefix + "version":     b.table.Version,
		prefix + "source":      b.table.Source,
		prefix + "revision":    b.origin.revision,
		prefix + "created":     b.origin.time.Format(timeFormat),
	}
}
