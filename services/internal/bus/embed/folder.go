package embed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// lockFolder takes the folder for this process until the file is closed or the
// process ends, however it ends.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(lockPath(dir), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS: data folder: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close() // nothing was written to it
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("embedded NATS: data folder %s is in use by another process; stop it, or name another folder", dir)
	}
	return nil, fmt.Errorf("embedded NATS: data folder %s cannot be locked: %w", dir, err)
}

// storeBudget returns 80% of what the folder holds and the disk has free. A disk
// that is full to the last byte freezes streams until a restart; a budget below
// it refuses new messages and recovers by itself.
func storeBudget(dir string) (int64, error) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		return 0, fmt.Errorf("embedded NATS: free space of %s: %w", dir, err)
	}
	free := int64(disk.Bavail) * int64(disk.Bsize) //nolint:gosec,unconvert // no disk has 2^63 bytes; other systems have other types
	used := int64(0)
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		used += info.Size()
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("embedded NATS: size of %s: %w", dir, err)
	}
	return (free + used) / 10 * 8, nil
}
