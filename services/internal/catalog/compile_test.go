package catalog_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/peppasync/peppasync/services/connectors"
	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// What the types allow and the meaning does not.
func TestEachMistakeInMeaningSaysWhereAndWhatIsExpected(t *testing.T) {
	tests := map[string]struct {
		edit edit
		want []string
	}{
		"the same name twice": {edit{"x.yaml", "", "apiVersion: peppasync.io/v1alpha1\nkind: Connector\nmetadata: {name: wms}\nspec:\n  system: NetSuite\n  endpoint: https://x.example\n  auth: {secretRef: {name: x}}\n  limits: [{name: a, concurrency: {calls: 1}}]\n"}, []string{
			`x.yaml:3: metadata.name: the Connector "wms" is written twice, first in wms.yaml:4, expected one of each name`,
		}},
		"a name with dots": {edit{"stock.yaml", "name: main", "name: main.eu"}, []string{
			`stock.yaml:4: metadata.name: found "main.eu", expected at most 63 lower-case letters, digits and -, with a letter or digit at both ends, such as netsuite-eu`,
		}},
		"a name in capitals": {edit{"stock.yaml", "name: main", "name: Main"}, []string{
			`stock.yaml:4: metadata.name: found "Main", expected at most 63 lower-case letters, digits and -, with a letter or digit at both ends, such as netsuite-eu`,
		}},
		"an unknown connector in a flow": {edit{"flow.yaml", "connector: wms", "connector: wsm"}, []string{
			`flow.yaml:12: spec.deliver[0].connector: there is no Connector "wsm", expected one of erp, shop, texts or wms; did you mean wms?`,
		}},
		"an unknown connector in from": {edit{"flow.yaml", "connector: shop", "connector: store"}, []string{
			`flow.yaml:7: spec.from[0].connector: there is no Connector "store", expected one of erp, shop, texts or wms`,
		}},
		"an unknown connector in a pool": {edit{"stock.yaml", "connector: erp", "connector: netsuite"}, []string{
			`stock.yaml:12: spec.source.connector: there is no Connector "netsuite", expected one of erp, shop, texts or wms`,
		}},
		"an unknown connector in a policy": {edit{"texts.yaml", "connector: texts", "connector: text"}, []string{
			`texts.yaml:24: spec.through.connector: there is no Connector "text", expected one of erp, shop, texts or wms; did you mean texts?`,
		}},
		"a source without a webhook": {edit{"flow.yaml", "connector: shop", "connector: erp"}, []string{
			`flow.yaml:7: spec.from[0].connector: Connector "erp" has no webhook, so it sends no events, expected spec.webhook in it, or another Connector`,
		}},
		"a source twice": {edit{"flow.yaml", "  when:", "    - {connector: shop, topics: [orders/create]}\n  when:"}, []string{
			`flow.yaml:9: spec.from[1].connector: "shop" is written twice, expected it once`,
		}},
		"a topic that is no order": {edit{"flow.yaml", "orders/paid", "products/update"}, []string{
			`flow.yaml:8: spec.from[0].topics[1]: found "products/update", which carries no order, expected a topic such as orders/create`,
		}},
		"a topic twice": {edit{"flow.yaml", "orders/paid", "orders/create"}, []string{
			`flow.yaml:8: spec.from[0].topics[1]: "orders/create" is written twice, expected it once`,
		}},
		"no topics": {edit{"flow.yaml", "[orders/create, orders/paid]", "[]"}, []string{
			`flow.yaml:8: spec.from[0].topics: is empty, expected at least one topic`,
		}},
		"no steps": {edit{"x.yaml", "", "apiVersion: peppasync.io/v1alpha1\nkind: Flow\nmetadata: {name: x}\nspec: {from: [{connector: shop, topics: [orders/create]}], deliver: []}\n"}, []string{
			`x.yaml:4: spec.deliver: is empty, expected at least one step`,
		}},
		"an unknown lane": {edit{"flow.yaml", "lane: express", "lane: expres"}, []string{
			`flow.yaml:22: spec.deliver[1].lane: Connector "erp" has no lane "expres", expected express or standard; did you mean express?`,
		}},
		"a lane that is not written and not there": {edit{"erp.yaml", "    - {name: express, weight: 7}\n", ""}, []string{
			`flow.yaml:22: spec.deliver[1].lane: Connector "erp" has no lane "express", expected standard`,
			`stock.yaml:19: spec.lane: Connector "erp" has no lane "express", expected standard`,
		}},
		"a step after one that is not there": {edit{"flow.yaml", "after: [warehouse]", "after: [warehose]"}, []string{
			`flow.yaml:23: spec.deliver[1].after[0]: there is no step "warehose", expected a step above: warehouse; did you mean warehouse?`,
		}},
		"a step after itself": {edit{"flow.yaml", "after: [warehouse]", "after: [erp]"}, []string{
			`flow.yaml:23: spec.deliver[1].after[0]: step "erp" cannot come after itself, expected a step above it`,
		}},
		"a circle": {edit{"flow.yaml", "      connector: wms\n", "      connector: wms\n      after: [erp]\n"}, []string{
			`flow.yaml:13: spec.deliver[0].after[0]: step "erp" stands below, expected a step above: move "erp" up, so that steps stand in the order in which they go`,
		}},
		"a step after another twice": {edit{"flow.yaml", "after: [warehouse]", "after: [warehouse, warehouse]"}, []string{
			`flow.yaml:23: spec.deliver[1].after[1]: "warehouse" is written twice, expected it once`,
		}},
		"a step's name twice": {edit{"flow.yaml", "    - name: warehouse", "    - name: erp"}, []string{
			`flow.yaml:19: spec.deliver[1].name: "erp" is written twice, expected it once`,
			`flow.yaml:23: spec.deliver[1].after[0]: there is no step "warehouse", expected a step above: erp`,
		}},
		"a condition with a typo": {edit{"flow.yaml", "order.financial_status", "order.financial_staus"}, []string{
			`flow.yaml:9: spec.when: there is no field "financial_staus" here; fields are spelled as in order.proto, such as order.financial_status (line 1, column 6 of the expression)`,
		}},
		"a condition of another type": {edit{"flow.yaml", `order.financial_status == "paid"`, "order.financial_status"}, []string{
			`flow.yaml:9: spec.when: found a text (string), expected true or false, such as order.financial_status == "paid" (line 1, column 1 of the expression)`,
		}},
		"a condition that compares what cannot be compared": {edit{"flow.yaml", `order.financial_status == "paid"`, `order.financial_status == 5`}, []string{
			`flow.yaml:9: spec.when: found no matching overload for '_==_' applied to '(string, int)' (line 1, column 24 of the expression)`,
		}},
		"a condition that ends early": {edit{"flow.yaml", `order.financial_status == "paid"`, `order.financial_status ==`}, []string{
			`flow.yaml:9: spec.when: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER} (line 1, column 26 of the expression)`,
		}},
		"a mapping with a typo in its third line": {edit{"flow.yaml", "l.sku", "l.sk"}, []string{
			`flow.yaml:17: spec.deliver[0].mapping: there is no field "sk" here; fields are spelled as in order.proto, such as order.financial_status (line 3, column 40 of the expression)`,
		}},
		"a mapping without a colon": {edit{"flow.yaml", `"lines": order`, `"lines" order`}, []string{
			`flow.yaml:17: spec.deliver[0].mapping: Syntax error: missing ':' at 'order' (line 3, column 11 of the expression)`,
		}},
		"a mapping that is no map": {edit{"flow.yaml", `'{"externalId": externalId}'`, "externalId"}, []string{
			`flow.yaml:24: spec.deliver[1].mapping: found a text (string), expected a map, such as {"externalId": externalId} (line 1, column 1 of the expression)`,
		}},
		"a mapping that is missing": {edit{"flow.yaml", "      mapping: '{\"externalId\": externalId}'\n", ""}, []string{
			`flow.yaml:19: spec.deliver[1].mapping: is missing, expected an expression whose value is the body of upsertSalesOrder, such as {"externalId": externalId}`,
		}},
		"an operation that the system does not have": {edit{"flow.yaml", "operation: putOrder", "operation: upsertSalesOrder"}, []string{
			`flow.yaml:13: spec.deliver[0].operation: Connector "wms" cannot be sent an order by "upsertSalesOrder", expected putOrder`,
		}},
		"an operation that takes no order": {edit{"flow.yaml", "operation: upsertSalesOrder", "operation: readStock"}, []string{
			`flow.yaml:21: spec.deliver[1].operation: Connector "erp" cannot be sent an order by "readStock", expected upsertSalesOrder`,
		}},
		"a pool whose source has no stock": {edit{"stock.yaml", "connector: erp", "connector: texts"}, []string{
			`stock.yaml:12: spec.source.connector: Connector "texts" is of system Twilio, which cannot readStock, expected one that can`,
		}},
		"a pool whose channel cannot be written": {edit{"stock.yaml", "connector: shop", "connector: wms"}, []string{
			`stock.yaml:16: spec.channels[0].connector: Connector "wms" is of system HTTP, which cannot readStock, expected one that can`,
		}},
		"a policy through a system without texts": {edit{"texts.yaml", "connector: texts", "connector: erp"}, []string{
			`texts.yaml:24: spec.through.connector: Connector "erp" is of system NetSuite, which cannot sendMessage, expected one that can`,
		}},
		"a webhook of a system that sends none": {edit{"erp.yaml", "  limits:", "  webhook: {secretRef: {name: x}}\n  limits:"}, []string{
			`erp.yaml:10: spec.webhook: the webhooks of NetSuite cannot be read, expected no webhook here`,
		}},
		"a body size that is too small": {edit{"shop.yaml", "1048576", "1"}, []string{
			`shop.yaml:12: spec.webhook.maxBodyBytes: found 1, expected a whole number from 1024 to 4194304`,
		}},
		"a body size that is too large": {edit{"shop.yaml", "1048576", "5000000"}, []string{
			`shop.yaml:12: spec.webhook.maxBodyBytes: found 5000000, expected a whole number from 1024 to 4194304`,
		}},
		"no limits": {edit{"wms.yaml", "  limits:\n    - name: per-minute\n      rollingWindow: {calls: 3000, per: 1m}\n", "  limits: []\n"}, []string{
			`wms.yaml:8: spec.limits: is empty, expected at least one limit`,
		}},
		"a limit of two kinds": {edit{"wms.yaml", "per: 1m}", "per: 1m}\n      concurrency: {calls: 1}"}, []string{
			`wms.yaml:9: spec.limits[0]: has rollingWindow and concurrency, expected one of them: write a limit for each`,
		}},
		"a limit of no kind": {edit{"erp.yaml", "      concurrency: {calls: 15}\n", ""}, []string{
			`erp.yaml:15: spec.limits[1]: has neither rollingWindow nor concurrency nor bucket, expected one of them, such as rollingWindow: {calls: 100, per: 1m}`,
		}},
		"a bucket beside a window": {edit{"wms.yaml", "per: 1m}", "per: 1m}\n      bucket: {capacity: 40, refill: {calls: 2, per: 1s}}"}, []string{
			`wms.yaml:9: spec.limits[0]: has rollingWindow and bucket, expected one of them: write a limit for each`,
		}},
		"a bucket that holds nothing": {edit{"erp.yaml", "concurrency: {calls: 15}", "bucket: {capacity: 0, refill: {calls: 2, per: 1s}}"}, []string{
			`erp.yaml:16: spec.limits[1].bucket.capacity: found 0, expected a whole number from 1 to 1000000000`,
		}},
		"a bucket that never drains": {edit{"erp.yaml", "concurrency: {calls: 15}", "bucket: {capacity: 40, refill: {per: 1s}}"}, []string{
			`erp.yaml:16: spec.limits[1].bucket.refill: has neither calls nor points, expected one of them, such as refill: {calls: 2, per: 1s}`,
		}},
		"a bucket that fills": {edit{"erp.yaml", "concurrency: {calls: 15}", "bucket: {capacity: 40, refill: {calls: -2, per: 1s}}"}, []string{
			`erp.yaml:16: spec.limits[1].bucket.refill.calls: found -2, expected a whole number from 1 to 1000000000`,
		}},
		"a bucket of two kinds": {edit{"erp.yaml", "concurrency: {calls: 15}", "bucket: {capacity: 40, refill: {calls: 2, points: 2, per: 1s}}"}, []string{
			`erp.yaml:16: spec.limits[1].bucket.refill: has calls and points, expected one of them: write a limit for each`,
		}},
		"a bucket that drains in no time": {edit{"erp.yaml", "concurrency: {calls: 15}", "bucket: {capacity: 40, refill: {points: 2, per: 1ms}}"}, []string{
			`erp.yaml:16: spec.limits[1].bucket.refill.per: found 1ms, expected a time from 100ms to 168h`,
		}},
		"a bucket that takes a year to drain": {edit{"erp.yaml", "concurrency: {calls: 15}", "bucket: {capacity: 8760, refill: {points: 1, per: 1h}}"}, []string{
			`erp.yaml:16: spec.limits[1].bucket.refill: a full bucket takes 8760 hours to become empty, expected less than 720: make refill larger`,
		}},
		"a bucket whose headroom leaves nothing": {edit{"erp.yaml", "concurrency: {calls: 15}", "bucket: {capacity: 1, refill: {points: 2, per: 1s}}"}, []string{
			`erp.yaml:17: spec.limits[1].headroom: 1 of 1 points stay unused, so nothing could ever be sent, expected less than 1`,
		}},
		"reads that drain a bucket": {edit{"erp.yaml", "rollingWindow: {calls: 100, per: 1m}\n      headroom: 1\n      arrivesWithin: 20ms", "bucket: {capacity: 100, refill: {calls: 10, per: 1m}}"}, []string{
			`stock.yaml:14: spec.source.readEvery: a read every 5s is 12 calls in 1m, 120% of the 10 that limit "per-minute" of Connector "erp" allows, expected at most 20%: read every 30s or less often`,
		}},
		"an operation that costs more than a bucket holds": {edit{
			"wms.yaml",
			"rollingWindow: {calls: 3000, per: 1m}\n  http:\n    operations:\n      - name",
			"bucket: {capacity: 50, refill: {points: 2, per: 1s}}\n      headroom: 10\n  http:\n    operations:\n      - cost: 41\n        name",
		}, []string{
			`wms.yaml:14: spec.http.operations[0].cost: found 41, expected at most 40, for which limit "per-minute" has room when its bucket is empty`,
		}},
		"an operation that costs less than nothing": {edit{"wms.yaml", "effect: Idempotent", "effect: Idempotent\n        cost: -1"}, []string{
			`wms.yaml:17: spec.http.operations[0].cost: found -1, expected a whole number from 1 to 1000000000`,
		}},
		"two limits of one name": {edit{"erp.yaml", "name: parallel", "name: per-minute"}, []string{
			`erp.yaml:15: spec.limits[1].name: "per-minute" is written twice, expected it once`,
		}},
		"no calls": {edit{"erp.yaml", "calls: 15", "calls: 0"}, []string{
			`erp.yaml:16: spec.limits[1].concurrency.calls: found 0, expected a whole number from 1 to 10000`,
		}},
		"fewer calls than none": {edit{"erp.yaml", "calls: 100", "calls: -100"}, []string{
			`erp.yaml:12: spec.limits[0].rollingWindow.calls: found -100, expected a whole number from 1 to 1000000`,
		}},
		"more calls than anybody takes": {edit{"erp.yaml", "calls: 100", "calls: 9223372036854775807"}, []string{
			`erp.yaml:12: spec.limits[0].rollingWindow.calls: found 9223372036854775807, expected a whole number from 1 to 1000000`,
		}},
		"more at the same time than anybody takes": {edit{"erp.yaml", "calls: 15", "calls: 10001"}, []string{
			`erp.yaml:16: spec.limits[1].concurrency.calls: found 10001, expected a whole number from 1 to 10000`,
		}},
		"a window of no time": {edit{"wms.yaml", "per: 1m", "per: 0s"}, []string{
			`wms.yaml:10: spec.limits[0].rollingWindow.per: found 0s, expected a time from 100ms to 168h`,
		}},
		"a window of less than no time": {edit{"wms.yaml", "per: 1m", "per: -1m"}, []string{
			`wms.yaml:10: spec.limits[0].rollingWindow.per: found -1m, expected a time from 100ms to 168h`,
		}},
		"a window of a year": {edit{"wms.yaml", "per: 1m", "per: 8760h"}, []string{
			`wms.yaml:10: spec.limits[0].rollingWindow.per: found 8760h, expected a time from 100ms to 168h`,
		}},
		"headroom that leaves nothing": {edit{"erp.yaml", "headroom: 1", "headroom: 100"}, []string{
			`erp.yaml:13: spec.limits[0].headroom: 100 of 100 calls stay unused, so nothing could ever be sent, expected less than 100`,
		}},
		"headroom beyond the limit": {edit{"erp.yaml", "headroom: 1", "headroom: 101"}, []string{
			`erp.yaml:13: spec.limits[0].headroom: 101 of 100 calls stay unused, so nothing could ever be sent, expected less than 100`,
		}},
		"a share that leaves nothing": {edit{"erp.yaml", "calls: 15", "calls: 1"}, []string{
			`erp.yaml:17: spec.limits[1].headroom: 1 of 1 calls stay unused, so nothing could ever be sent, expected less than 1`,
		}},
		"headroom that nobody wrote": {edit{"wms.yaml", "calls: 3000", "calls: 1"}, []string{
			`wms.yaml:9: spec.limits[0].headroom: 1 of 1 calls stay unused, so nothing could ever be sent, expected less than 1 (a rollingWindow has headroom 1 where none is written: write headroom: 0)`,
		}},
		"headroom below nothing": {edit{"erp.yaml", "headroom: 1", "headroom: -1"}, []string{
			`erp.yaml:13: spec.limits[0].headroom: found "-1", expected a whole number of calls, such as 1, or a share, such as "2%"`,
		}},
		"headroom in words": {edit{"erp.yaml", "headroom: 1", "headroom: some"}, []string{
			`erp.yaml:13: spec.limits[0].headroom: found "some", expected a whole number of calls, such as 1, or a share, such as "2%"`,
		}},
		"headroom of everything": {edit{"erp.yaml", `"2%"`, `"100%"`}, []string{
			`erp.yaml:17: spec.limits[1].headroom: found "100%", expected a whole number of calls, such as 1, or a share, such as "2%"`,
		}},
		"an arrival without a window": {edit{"erp.yaml", `headroom: "2%"`, "arrivesWithin: 20ms"}, []string{
			`erp.yaml:17: spec.limits[1].arrivesWithin: belongs to a rollingWindow, expected none here`,
		}},
		"an arrival after the window": {edit{"erp.yaml", "arrivesWithin: 20ms", "arrivesWithin: 1m"}, []string{
			`erp.yaml:14: spec.limits[0].arrivesWithin: found 1m, expected more than 0 and less than the window's 1m, such as 20ms`,
		}},
		"an arrival in no time": {edit{"erp.yaml", "arrivesWithin: 20ms", "arrivesWithin: 0s"}, []string{
			`erp.yaml:14: spec.limits[0].arrivesWithin: found 0s, expected more than 0 and less than the window's 1m, such as 20ms`,
		}},
		"a weight of nothing": {edit{"erp.yaml", "weight: 7", "weight: 0"}, []string{
			`erp.yaml:20: spec.lanes[0].weight: found 0, expected a whole number from 1 to 1000`,
		}},
		"two lanes of one name": {edit{"erp.yaml", "name: standard", "name: express"}, []string{
			`erp.yaml:21: spec.lanes[1].name: "express" is written twice, expected it once`,
		}},
		"a timeout of no time": {edit{"erp.yaml", "timeout: 30s", "timeout: 1ns"}, []string{
			`erp.yaml:22: spec.timeout: found 1ns, expected a time from 100ms to 10m`,
		}},
		"attempts without end": {edit{"erp.yaml", "maxAttempts: 12", "maxAttempts: 1001"}, []string{
			`erp.yaml:23: spec.retry.maxAttempts: found 1001, expected a whole number from 1 to 1000`,
		}},
		"an age without end": {edit{"erp.yaml", "maxAge: 72h", "maxAge: 721h"}, []string{
			`erp.yaml:23: spec.retry.maxAge: found 721h, expected a time from 1s to 720h`,
		}},
		"a schedule that is none": {edit{"erp.yaml", `"0 2 * * 0"`, `"0 2 * *"`}, []string{
			`erp.yaml:26: spec.maintenance[0].schedule: found "0 2 * *", expected five fields of cron (minute, hour, day, month, weekday), such as "0 2 * * 0" for Sundays at two: it has 4 fields`,
		}},
		"a schedule of an hour that no clock shows": {edit{"erp.yaml", `"0 2 * * 0"`, `"0 25 * * 0"`}, []string{
			`erp.yaml:26: spec.maintenance[0].schedule: found "0 25 * * 0", expected five fields of cron (minute, hour, day, month, weekday), such as "0 2 * * 0" for Sundays at two: end of range (25) above maximum (23): "25"`,
		}},
		"a schedule that never begins": {edit{"erp.yaml", `"0 2 * * 0"`, `"0 2 31 2 *"`}, []string{
			`erp.yaml:26: spec.maintenance[0].schedule: found "0 2 31 2 *", expected five fields of cron (minute, hour, day, month, weekday), such as "0 2 * * 0" for Sundays at two: no such day ever comes`,
		}},
		"a schedule with a time zone": {edit{"erp.yaml", `"0 2 * * 0"`, `"TZ=UTC 2 * * 0"`}, []string{
			`erp.yaml:26: spec.maintenance[0].schedule: found "TZ=UTC 2 * * 0", expected five fields of cron (minute, hour, day, month, weekday), such as "0 2 * * 0" for Sundays at two: a time zone is not part of it`,
		}},
		"a time zone that is none": {edit{"erp.yaml", "America/New_York", "America/Gotham"}, []string{
			`erp.yaml:26: spec.maintenance[0].timeZone: found "America/Gotham", expected a name of the IANA time zone database, such as America/New_York or UTC`,
		}},
		"the time zone of the machine": {edit{"erp.yaml", "America/New_York", "Local"}, []string{
			`erp.yaml:26: spec.maintenance[0].timeZone: found "Local", expected a name of the IANA time zone database, such as America/New_York or UTC`,
		}},
		"maintenance of no time": {edit{"erp.yaml", "duration: 2h", "duration: 0s"}, []string{
			`erp.yaml:26: spec.maintenance[0].duration: found 0s, expected a time above 0s and up to 336h, such as 2h`,
		}},
		"maintenance that goes back in time": {edit{"erp.yaml", "duration: 2h", "duration: -2h"}, []string{
			`erp.yaml:26: spec.maintenance[0].duration: found -2h, expected a time above 0s and up to 336h, such as 2h`,
		}},
		"maintenance that never ends": {edit{"erp.yaml", "duration: 2h", "duration: 168h"}, []string{
			`erp.yaml:26: spec.maintenance[0].duration: found 168h, expected less than 168h: the schedule begins that often, so it would never end`,
		}},
		"maintenance that leaves no time for a call": {edit{"erp.yaml", `schedule: "0 2 * * 0", timeZone: America/New_York, duration: 2h`,
			`schedule: "*/5 * * * *", duration: 4m30s`}, []string{
			`erp.yaml:26: spec.maintenance[0].duration: found 4m30s every 5m, expected more time between: a call may take spec.timeout, 30s, and has to be over when the window begins`,
		}},
		"maintenance that leaves no time together": {edit{"erp.yaml", `schedule: "0 2 * * 0", timeZone: America/New_York, duration: 2h, rampUp: 10m}`,
			"schedule: \"0 0 * * *\", duration: 13h}\n    - {schedule: \"0 12 * * *\", duration: 13h}"}, []string{
			`erp.yaml:25: spec.maintenance: the windows together leave no time to send for a month and more, expected gaps between them; paused: true keeps everything for as long as it is written`,
		}},
		"a ramp that goes down": {edit{"erp.yaml", "rampUp: 10m", "rampUp: -10m"}, []string{
			`erp.yaml:26: spec.maintenance[0].rampUp: found -10m, expected a time from 0s to 24h`,
		}},
		"a ramp without end": {edit{"erp.yaml", "rampUp: 5m", "rampUp: 25h"}, []string{
			`erp.yaml:27: spec.outage.rampUp: found 25h, expected a time from 0s to 24h`,
		}},
		"no schedule": {edit{"erp.yaml", `schedule: "0 2 * * 0", `, ""}, []string{
			`erp.yaml:26: spec.maintenance[0].schedule: is missing, expected text, such as "0 2 * * 0"`,
		}},
		"an endpoint that is no URL": {edit{"erp.yaml", "https://123456.suitetalk.api.netsuite.com", "netsuite.com"}, []string{
			`erp.yaml:7: spec.endpoint: found "netsuite.com", expected a URL, such as https://123456.suitetalk.api.netsuite.com`,
		}},
		"an endpoint of another scheme": {edit{"erp.yaml", "https://123456", "ftp://123456"}, []string{
			`erp.yaml:7: spec.endpoint: found "ftp://123456.suitetalk.api.netsuite.com", expected a URL, such as https://123456.suitetalk.api.netsuite.com`,
		}},
		"plain HTTP to the outside": {edit{"erp.yaml", "https://123456", "http://123456"}, []string{
			`erp.yaml:7: spec.endpoint: found http to "123456.suitetalk.api.netsuite.com", expected https: http is only for loopback and for services inside the cluster (a name without dots, or one that ends in .svc or .cluster.local)`,
		}},
		"plain HTTP to an address": {edit{"wms.yaml", "wms.warehouse.svc", "10.0.0.1"}, []string{
			`wms.yaml:7: spec.endpoint: found http to "10.0.0.1", expected https: http is only for loopback and for services inside the cluster (a name without dots, or one that ends in .svc or .cluster.local)`,
		}},
		"an endpoint with a query": {edit{"erp.yaml", "netsuite.com", "netsuite.com?x=1"}, []string{
			`erp.yaml:7: spec.endpoint: has a query or a fragment, expected the base URL of the API`,
		}},
		"no auth": {edit{"erp.yaml", "  auth:\n    secretRef: {name: erp}\n", ""}, []string{
			`erp.yaml:5: spec.auth: is missing, expected {secretRef: {name: ...}}: only system HTTP can do without signing in`,
		}},
		"settings of another system": {edit{"erp.yaml", "  pacing:", "  shopify: {}\n  pacing:"}, []string{
			`erp.yaml:18: spec.shopify: belongs to system Shopify, expected none for system NetSuite`,
		}},
		"no settings": {edit{"texts.yaml", "  twilio:\n    accountSID: AC00000000000000000000000000000001\n    from: \"+15550100001\"\n", ""}, []string{
			`texts.yaml:5: spec.twilio: is missing, expected {accountSID: ..., from: ...}`,
		}},
		"no operations": {edit{"wms.yaml", "  http:\n    operations:\n      - name: putOrder\n        method: PUT\n        path: /orders/{externalId}\n        effect: Idempotent\n    probePath: /health\n", ""}, []string{
			`flow.yaml:13: spec.deliver[0].operation: Connector "wms" cannot be sent an order by "putOrder"`,
			`wms.yaml:5: spec.http: is missing, expected {operations: [{name, method, path, effect}]}: it says what can be called`,
		}},
		"an idempotent PUT of no record": {edit{"wms.yaml", "/orders/{externalId}", "/orders"}, []string{
			`wms.yaml:15: spec.http.operations[0].path: found "/orders", expected {externalId} in it: an idempotent PUT names its record`,
		}},
		"a path with another name in braces": {edit{"wms.yaml", "{externalId}", "{orderId}"}, []string{
			`wms.yaml:15: spec.http.operations[0].path: found "/orders/{orderId}", expected a path from the endpoint on, such as /orders/{externalId} (the only name that braces may hold)`,
			`wms.yaml:15: spec.http.operations[0].path: found "/orders/{orderId}", expected {externalId} in it: an idempotent PUT names its record`,
		}},
		"a path that leaves the endpoint": {edit{"wms.yaml", "/health", "//evil.example/health"}, []string{
			`wms.yaml:17: spec.http.probePath: found "//evil.example/health", expected a path from the endpoint on, such as /orders/{externalId} (the only name that braces may hold)`,
		}},
		"a method that does not exist": {edit{"wms.yaml", "method: PUT", "method: put"}, []string{
			`wms.yaml:14: spec.http.operations[0].method: found "put", expected GET, POST, PUT, PATCH or DELETE`,
		}},
		"an operation's name that has a meaning": {edit{"wms.yaml", "name: putOrder", "name: readStock"}, []string{
			`flow.yaml:13: spec.deliver[0].operation: Connector "wms" cannot be sent an order by "putOrder", expected readStock`,
			`wms.yaml:13: spec.http.operations[0].name: "readStock" has a meaning of its own that system HTTP does not have, expected another name`,
		}},
		"an operation's name with a dash": {edit{"wms.yaml", "name: putOrder", "name: put-order"}, []string{
			`flow.yaml:13: spec.deliver[0].operation: Connector "wms" cannot be sent an order by "putOrder", expected put-order; did you mean put-order?`,
			`wms.yaml:13: spec.http.operations[0].name: found "put-order", expected letters and digits with a small letter in front, such as putOrder`,
		}},
		"a phone number without its country": {edit{"texts.yaml", "+15550100002", "5550100002"}, []string{
			`texts.yaml:25: spec.to[0]: found "5550100002", expected a phone number in E.164 form, in quotes, such as "+15550100002"`,
		}},
		"an account that is none": {edit{"texts.yaml", "AC00000000000000000000000000000001", "AC1"}, []string{
			`texts.yaml:14: spec.twilio.accountSID: found "AC1", expected AC and 32 hexadecimal digits`,
		}},
		"an API version that never was": {edit{"shop.yaml", "2026-10", "2026-11"}, []string{
			`shop.yaml:19: spec.shopify.apiVersion: found "2026-11", expected a quarter's version of the Admin API, such as 2026-10`,
		}},
		"escrow": {edit{"stock.yaml", "mode: Shared", "mode: Escrow"}, []string{
			`stock.yaml:9: spec.mode: Escrow is not available in this release, expected Shared`,
		}},
		"a SKU twice": {edit{"stock.yaml", "VIRAL-1", "DESK-1"}, []string{
			`stock.yaml:10: spec.skus[1]: "DESK-1" is written twice, expected it once`,
		}},
		"a SKU of no letters": {edit{"stock.yaml", "VIRAL-1", `""`}, []string{
			`stock.yaml:10: spec.skus[1]: found a SKU of 0 bytes, expected 1 to 255`,
		}},
		"a buffer below nothing": {edit{"stock.yaml", "buffer: 5", "buffer: -5"}, []string{
			`stock.yaml:18: spec.buffer: found -5, expected a whole number from 0 to 1000000000`,
		}},
		"a location of no letters": {edit{"stock.yaml", `location: "1"`, `location: ""`}, []string{
			`stock.yaml:13: spec.source.location: is empty, expected the system's own id of the location`,
		}},
		"the source as its own channel": {edit{"stock.yaml", "connector: shop\n      location: gid://shopify/Location/1", "connector: erp\n      location: \"1\""}, []string{
			`stock.yaml:16: spec.channels[0].connector: Connector "erp" is of system NetSuite, which cannot setStock, expected one that can`,
			`stock.yaml:16: spec.channels[0]: is the source itself, expected the place where buyers see the figure`,
		}},
		"a channel twice": {edit{"stock.yaml", "  buffer:", "    - {connector: shop, location: gid://shopify/Location/1}\n  buffer:"}, []string{
			`stock.yaml:18: spec.channels[1]: location "gid://shopify/Location/1" of Connector "shop" is written twice, expected it once`,
		}},
		"reads that eat the budget": {edit{"stock.yaml", "readEvery: 5s", "readEvery: 1s"}, []string{
			`stock.yaml:14: spec.source.readEvery: a read every 1s is 60 calls in 1m, 60% of the 100 that limit "per-minute" of Connector "erp" allows, expected at most 20%: read every 3s or less often`,
		}},
		"reads that never end": {edit{"stock.yaml", "readEvery: 5s", "readEvery: 1ms"}, []string{
			`stock.yaml:14: spec.source.readEvery: found 1ms, expected a time from 500ms to 24h`,
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := check(t, folder(t, edited(t, test.edit)))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestASystemThatIsNotBuiltIn(t *testing.T) {
	resources := load(t)
	_, problems := catalog.Compile(resources, connectors.Set{})
	if len(problems) != 4 || !strings.Contains(problems.Error(), "erp.yaml:6: spec.system: NetSuite is not built into this program") {
		t.Errorf("found %v", problems)
	}
}

func TestWhatIsFoundIsShownInShort(t *testing.T) {
	long := strings.Repeat("ä", 500)
	for _, e := range []edit{
		{"flow.yaml", "connector: wms", "connector: " + long}, {"flow.yaml", "operation: putOrder", "operation: " + long},
		{"erp.yaml", "headroom: 1", "headroom: " + long}, {"erp.yaml", "pacing: Even", long + ": Even"}, {"stock.yaml", "name: main", "name: " + long},
		{"flow.yaml", "lane: express", "lane: " + long}, {"flow.yaml", "after: [warehouse]", "after: [" + long + "]"}, {"flow.yaml", "order.financial_status", "order." + long},
	} {
		got := check(t, folder(t, edited(t, e)))
		if len(got) == 0 || len(got[0]) > 700 || !utf8.ValidString(got[0]) {
			t.Errorf("%s: found %q", e.old, got)
		}
	}
}

// A list of what there is helps while somebody reads it.
func TestManyNamesAreNotListed(t *testing.T) {
	text := whole(t)["wms.yaml"]
	edits := []edit{{"flow.yaml", "connector: wms", "connector: wms-07x"}}
	for i := range 20 {
		name := fmt.Sprintf("wms-%02d", i)
		edits = append(edits, edit{name + ".yaml", "", strings.Replace(text, "name: wms", "name: "+name, 1)})
	}
	want := []string{`flow.yaml:12: spec.deliver[0].connector: there is no Connector "wms-07x", expected one of the 24 that there are; did you mean wms-07?`}
	if diff := cmp.Diff(want, check(t, folder(t, edited(t, edits...)))); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

const onlySends = "apiVersion: peppasync.io/v1alpha1\nkind: Connector\nmetadata: {name: events}\nspec:\n"

func TestConnectorsThatOnlySend(t *testing.T) {
	tests := map[string]struct {
		spec string
		want []string
	}{
		"an endpoint": {"  system: GRPC\n  webhook: {secretRef: {name: events}}\n  endpoint: https://x.example\n", []string{
			"events.yaml:7: spec.endpoint: belongs to systems that can be called, expected none: GRPC sends events and is never called",
		}},
		"no webhook": {"  system: GRPC\n", []string{
			"events.yaml:4: spec.webhook: is missing, expected {secretRef: {name: ...}}: a Connector of system GRPC without endpoint takes events in, and nothing else",
		}},
		"what only calls need": {"  system: HTTP\n  webhook: {secretRef: {name: events}}\n  auth: {secretRef: {name: x}}\n  limits: [{name: a, concurrency: {calls: 1}}]\n", []string{
			"events.yaml:7: spec.auth: belongs to Connectors that can be called, expected none without endpoint",
			"events.yaml:8: spec.limits: belongs to Connectors that can be called, expected none without endpoint",
		}},
		"no endpoint where it is called": {"  system: NetSuite\n  auth: {secretRef: {name: x}}\n  limits: [{name: a, concurrency: {calls: 1}}]\n", []string{
			"events.yaml:4: spec.endpoint: is missing, expected a URL, such as https://123456.suitetalk.api.netsuite.com",
		}},
		"a limit is needed where it is called": {"  system: NetSuite\n  auth: {secretRef: {name: x}}\n  endpoint: https://x.example\n", []string{
			"events.yaml:4: spec.limits: is empty, expected at least one limit",
		}},
	}
	set := systems.Set()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, problems := catalog.Compile(load(t, edit{"events.yaml", "", onlySends + test.spec}), set)
			var got []string
			for _, p := range problems {
				_, line, _ := strings.Cut(p.Error(), "/events.yaml")
				got = append(got, "events.yaml"+line)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("programs need no source, and name their topics as they like", func(t *testing.T) {
		spec := "  system: GRPC\n  webhook: {secretRef: {name: events}}\n"
		feed := "---\napiVersion: peppasync.io/v1alpha1\nkind: Flow\nmetadata: {name: feed}\nspec:\n  from: [{connector: events, topics: [nightly, \"\"]}]\n" +
			"  deliver: [{name: wms, connector: wms, operation: putOrder, lane: standard, mapping: \"{'id': order.id}\"}]\n"
		_, problems := catalog.Compile(load(t, edit{"events.yaml", "", onlySends + spec + feed}), systems.Set())
		if len(problems) != 1 || !strings.Contains(problems.Error(), "spec.from[0].topics[1]: is empty, expected a topic such as orders/create") {
			t.Errorf("found %v", problems)
		}
	})
	t.Run("nothing calls them", func(t *testing.T) {
		spec := "  system: GRPC\n  webhook: {secretRef: {name: events}}\n"
		resources := load(t, edit{"events.yaml", "", onlySends + spec}, edit{"flow.yaml", "connector: wms", "connector: events"})
		_, problems := catalog.Compile(resources, set)
		if !strings.Contains(problems.Error(), `Connector "events" has no endpoint and so cannot be called, expected one that can`) {
			t.Errorf("found %v", problems)
		}
	})
}
