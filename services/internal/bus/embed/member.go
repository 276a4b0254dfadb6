package embed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// memberName is the file that says which member of which cluster a folder belongs to.
const memberName = "member"

// claimFolder refuses a folder on which this server would lose what is there, and
// writes down whose it is. 30 s after its start a member removes every stream that its
// cluster does not place on it, by its name: all that a server alone has stored, and
// all that it stored itself by another name.
func claimFolder(dir string, c *Cluster) error {
	owner, err := folderOwner(dir)
	if err != nil {
		return fmt.Errorf("embedded NATS: whose the data folder is: %w", err)
	}
	if c == nil {
		if owner != "" {
			return fmt.Errorf("embedded NATS: data folder %s belongs to %s: start that one on it (%s), or name another folder for a server alone",
				dir, owner, flagsOf(owner))
		}
		return nil
	}
	me := c.Name + "/" + c.Member
	switch owner {
	case me:
		return nil
	case "":
		used, err := hasStreams(dir)
		if err != nil {
			return fmt.Errorf("embedded NATS: what the data folder holds: %w", err)
		}
		if used {
			return fmt.Errorf("embedded NATS: data folder %s holds what a server alone has stored, which the cluster would delete: "+
				"start the members on empty folders, and let the server alone (without --cluster) work off what it holds first", dir)
		}
	case ownerUnnamed:
		// A member from before the name was written down. It keeps its data by the name
		// that it had, which is nowhere to be read.
	default:
		return fmt.Errorf("embedded NATS: data folder %s belongs to %s, and this is %s, for which the cluster would delete what is there: "+
			"start it by its name (%s), or name an empty folder", dir, owner, me, flagsOf(owner))
	}
	if err := writeSynced(dir, memberName, me+"\n"); err != nil {
		return fmt.Errorf("embedded NATS: writing down whose the data folder is: %w", err)
	}
	return nil
}

// ownerUnnamed stands for a member that did not write its name down.
const ownerUnnamed = "a member of a cluster"

// folderOwner returns cluster/member, ownerUnnamed, or "" where no member has used the
// folder.
func folderOwner(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, memberName))
	if err == nil {
		owner := strings.TrimSpace(string(text))
		if cluster, member, both := strings.Cut(owner, "/"); !both || cluster == "" || member == "" {
			return "", fmt.Errorf("%s says %q, it should be cluster/member: write the names by which this server has run, or name another folder",
				filepath.Join(dir, memberName), owner)
		}
		return owner, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	// What only members have: the record of where the cluster places its streams.
	_, err = os.Stat(filepath.Join(dir, "jetstream", "$SYS", "_js_", "_meta_"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return ownerUnnamed, err
}

// flagsOf returns what the owner of a folder is started with.
func flagsOf(owner string) string {
	cluster, member, named := strings.Cut(owner, "/")
	if !named {
		return "--cluster and --name as before"
	}
	return "--cluster " + cluster + " --name " + member
}

// hasStreams reports whether any account has a stream in the folder.
func hasStreams(dir string) (bool, error) {
	store := filepath.Join(dir, "jetstream")
	accounts, err := namesIn(store)
	if err != nil {
		return false, err
	}
	for _, account := range accounts {
		streams, err := namesIn(filepath.Join(store, account, "streams"))
		if err != nil || len(streams) > 0 {
			return len(streams) > 0, err
		}
	}
	return false, nil
}

// namesIn returns what is in a folder, nothing where it is missing.
func namesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// writeSynced writes a file that is there whole, or not at all, also after a power cut.
func writeSynced(dir, name, text string) error {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	// The name is in the folder, which is synced by itself.
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
