package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// timeFormat is RFC 3339, which the labels are written in.
const timeFormat = time.RFC3339

// origin is the state of the source that images are made of.
type origin struct {
	revision string
	time     time.Time
}

// readOrigin asks git for the commit and its time, which an epoch replaces. A tree
// that differs from its commit says so: its images are nobody's release.
func readOrigin(ctx context.Context, root, epoch string) (origin, error) {
	revision, err := git(ctx, root, "rev-parse", "HEAD")
	if err != nil {
		return origin{}, err
	}
	changed, err := git(ctx, root, "status", "--porcelain")
	if err != nil {
		return origin{}, err
	}
	if changed != "" {
		revision += "-dirty"
	}
	name := "SOURCE_DATE_EPOCH"
	if epoch == "" {
		name = "the time of the commit"
		if epoch, err = git(ctx, root, "log", "-1", "--format=%ct"); err != nil {
			return origin{}, err
		}
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return origin{}, fmt.Errorf("%s is %q, it must be seconds since 1970", name, epoch)
	}
	return origin{revision: revision, time: time.Unix(seconds, 0).UTC()}, nil
}

func git(ctx context.Context, root string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...) //nolint:gosec // the arguments stand above
	said, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return "", fmt.Errorf("git %s in %s: %w: %s", strings.Join(args, " "), root, err, exit.Stderr)
		}
		return "", fmt.Errorf("git %s in %s: %w", strings.Join(args, " "), root, err)
	}
	return strings.TrimSpace(string(said)), nil
}
