package catalog

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

var listPath = regexp.MustCompile(`^(\.|[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)$`)

// httpFind checks how an operation's effect is looked up. What it calls absent is
// sent again, so that a mistake here doubles orders.
func (c *compiler) httpFind(r *Resource, field string, o *v1alpha1.HTTPOperation) {
	find := o.Find
	if find == nil {
		return
	}
	if o.Effect != v1alpha1.HTTPEffectOnce {
		c.reportf(r, field, "belongs to effect Once, expected none here: an Idempotent request is simply sent again, and None has no effect to be found")
	}
	enum(c, r, field+".method", find.Method, []string{http.MethodGet})
	c.path(r, field+".path", find.Path, strings.ReplaceAll(find.Path, externalIDToken, "x"))
	if !strings.Contains(find.Path, externalIDToken) {
		c.reportf(r, field+".path", "found %q, expected %s in it: it has to find this order alone", shorten(find.Path), externalIDToken)
	}
	for i, status := range find.FoundStatus {
		if status < 200 || status > 299 {
			c.reportf(r, at(field+".foundStatus", i), "found %d, expected a status from 200 to 299", status)
		}
	}
	for i, status := range find.AbsentStatus {
		switch {
		case slices.Contains(find.FoundStatus, status):
			c.reportf(r, at(field+".absentStatus", i), "found %d, which is in foundStatus too, expected it in one of them", status)
		case (status < 200 || status > 299) && status != http.StatusNotFound && status != http.StatusGone:
			c.reportf(r, at(field+".absentStatus", i), "found %d, expected 404, 410 or a status from 200 to 299: "+
				"others do not say that the record is not there", status)
		}
	}
	switch {
	case find.List == "":
	case !listPath.MatchString(find.List):
		c.reportf(r, field+".list", "found %q, expected names of fields joined by dots, such as data.items, or \".\" where the body is the list",
			shorten(find.List))
	}
}
