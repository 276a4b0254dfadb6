package bustest

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/peppasync/peppasync/services/internal/bus"
)

const deafUser = "deaf"

// WithDeaf lets Server.Deaf connect. It includes WithTCP.
func WithDeaf(stream string) Option {
	return func(s *settings) {
		WithTCP()(s)
		WithServerOptions(func(o *server.Options) {
			o.NoAuthUser = "everything"
			o.Users = []*server.User{
				{Username: "everything", Password: "x"},
				{Username: deafUser, Password: deafUser, Permissions: &server.Permissions{
					Publish: &server.SubjectPermission{Deny: []string{"$JS.API.CONSUMER.*." + stream + ".>"}},
				}},
			}
		})(s)
	}
}

// Deaf returns a connection that can write and look, and to which nothing that is
// stored in the stream of WithDeaf comes by itself: as to one that hears late.
func (s *Server) Deaf(t testing.TB) *bus.Bus {
	t.Helper()
	return s.Connect(t, bus.Options{Name: deafUser, URL: strings.Replace(s.URL(), "//", "//"+deafUser+":"+deafUser+"@", 1)})
}
