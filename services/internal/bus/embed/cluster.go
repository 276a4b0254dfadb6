package embed

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

// Cluster makes a server a member of a cluster. All of it is required.
type Cluster struct {
	// Name is the cluster's, the same for every member. A member of another name
	// is refused, so that an address too many does not make one of two clusters.
	Name string
	// Member is this server's own name, which no other member has. Copies of streams
	// are placed by it, so it stays as long as the folder does, which holds it.
	Member string
	// Listen is where the other members connect.
	Listen string
	// Routes are the addresses of members, host:port; this one's may be among them.
	Routes []string
}

// routeReports is how many attempts to reach a member, a second apart, make one line
// of the log.
const routeReports = 60

// join writes the membership into the server's options.
func (c *Cluster) join(o *server.Options) error {
	for what, name := range map[string]string{"cluster": c.Name, "member": c.Member} {
		if name == "" || strings.ContainsFunc(name, notInName) {
			return fmt.Errorf("embedded NATS: the name of the %s is %q; it must be of letters, digits and -_., such as node-1", what, name)
		}
	}
	if len(c.Routes) == 0 {
		return errors.New("embedded NATS: a member of a cluster needs the addresses of the others")
	}
	host, port, err := splitAddress("cluster address", c.Listen)
	if err != nil {
		return err
	}
	// Once a minute for each connection to a member that is away, where the server's
	// own choice is once a second.
	o.ConnectErrorReports, o.ReconnectErrorReports = routeReports, routeReports
	o.ServerName = c.Member
	o.Cluster.Name, o.Cluster.Host, o.Cluster.Port = c.Name, host, port
	for _, route := range c.Routes {
		if _, _, err := splitAddress("route", route); err != nil {
			return err
		}
		if route != c.Listen {
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: route})
		}
	}
	return nil
}

// notInName says of a character that it may not be in a name, which is shown in lists
// and put into commands.
func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

// splitAddress returns host and port of an address; port 0 stands for a free one.
func splitAddress(what, address string) (string, int, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("embedded NATS: %s %q is not host:port: %w", what, address, err)
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("embedded NATS: %s %q: %q is not a port number", what, address, text)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}
