package catalog

import (
	"github.com/peppasync/peppasync/services/api/v1alpha1"
)

// httpReply checks what an operation's replies are said to mean. What it calls
// accepted is never sent again, so that a mistake here loses orders.
func (c *compiler) httpReply(r *Resource, field string, o *v1alpha1.HTTPOperation) {
	reply := o.Reply
	if reply == nil {
		return
	}
	if reply.Accepted == "" {
		c.reportf(r, field+".accepted", "is missing, expected which replies with a status from 200 to 299 say that the call was taken, such as %s",
			expected["HTTPReply.accepted"])
	}
	if reply.AlreadyThere != "" && o.Effect == v1alpha1.HTTPEffectNone {
		c.reportf(r, field+".alreadyThere", "belongs to effects Once and Idempotent, expected none here: what only asks leaves nothing there")
	}
	for _, condition := range []struct{ name, source string }{
		{"accepted", reply.Accepted}, {"refused", reply.Refused}, {"throttled", reply.Throttled},
		{"unauthorized", reply.Unauthorized}, {"alreadyThere", reply.AlreadyThere},
	} {
		if condition.source != "" {
			_, err := c.expressions.ReplyCondition(condition.source)
			c.expression(r, field+"."+condition.name, err)
		}
	}
	for _, text := range []struct{ name, source string }{{"reference", reply.Reference}, {"code", reply.Code}, {"message", reply.Message}} {
		if text.source != "" {
			_, err := c.expressions.ReplyText(text.source)
			c.expression(r, field+"."+text.name, err)
		}
	}
}
