package catalog_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/catalog"
)

// load returns the resources of files without a problem.
func load(t testing.TB, edits ...edit) []catalog.Resource {
	t.Helper()
	resources, problems := catalog.LoadDir(folder(t, edited(t, edits...)))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return resources
}

func encode(t testing.TB, resources []catalog.Resource) []byte {
	t.Helper()
	data, err := catalog.Encode(resources)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A role sees what the files say, by way of the document.
func TestADocumentCarriesTheWholeConfiguration(t *testing.T) {
	resources := load(t)
	direct, problems := catalog.Compile(resources, systems.Set())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	data := encode(t, resources)
	decoded, err := catalog.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	carried, problems := catalog.Compile(decoded, systems.Set())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for name, connector := range direct.Connectors {
		if diff := cmp.Diff(connector.Spec, carried.Connectors[name].Spec); diff != "" {
			t.Errorf("Connector %s (-files +document):\n%s", name, diff)
		}
	}
	for i, flow := range direct.Flows {
		if diff := cmp.Diff(flow.Spec, carried.Flows[i].Spec); diff != "" || flow.Name != carried.Flows[i].Name {
			t.Errorf("Flow %s (-files +document):\n%s", flow.Name, diff)
		}
	}
	for name, pool := range direct.StockPools {
		if diff := cmp.Diff(pool.Spec, carried.StockPools[name].Spec); diff != "" {
			t.Errorf("StockPool %s (-files +document):\n%s", name, diff)
		}
	}
	for name, policy := range direct.Policies {
		if diff := cmp.Diff(policy.Spec, carried.Policies[name].Spec); diff != "" {
			t.Errorf("NotificationPolicy %s (-files +document):\n%s", name, diff)
		}
	}
	if again := encode(t, decoded); !bytes.Equal(again, data) {
		t.Errorf("encoded again it is\n%s\nand was\n%s", again, data)
	}
}

func TestEqualConfigurationsGiveEqualBytes(t *testing.T) {
	data := encode(t, load(t))
	for name, edits := range map[string][]edit{
		"comments and spaces":       {{"erp.yaml", "spec:\n", "spec:\n\n  # the ERP\n"}},
		"defaults that are written": {{"wms.yaml", "  http:\n", "  timeout: 30s\n  pacing: Even\n  http:\n"}},
		"another way to write it":   {{"erp.yaml", "rollingWindow: {calls: 100, per: 1m}", "rollingWindow: {per: 60s, calls: 100}"}},
		"labels":                    {{"stock.yaml", "team: operations", "team: stock"}},
		"the names of files":        {{"0.yaml", "", whole(t)["flow.yaml"]}, {"flow.yaml", whole(t)["flow.yaml"], ""}},
	} {
		if got := encode(t, load(t, edits...)); !bytes.Equal(got, data) {
			t.Errorf("%s: the document changes from\n%s\nto\n%s", name, data, got)
		}
	}
	if got := encode(t, load(t, edit{"erp.yaml", "calls: 15", "calls: 14"})); bytes.Equal(got, data) {
		t.Error("another limit makes no other document")
	}
}

func TestADocumentThatCannotBeReadIsAnError(t *testing.T) {
	data := string(encode(t, load(t)))
	tests := map[string]struct {
		data, want string
	}{
		"nothing":                     {"", "the catalog cannot be read"},
		"no JSON":                     {"\x00\xff", "the catalog cannot be read"},
		"half of it":                  {data[:len(data)/2], "the catalog cannot be read"},
		"more behind it":              {data + "{}", "the catalog cannot be read"},
		"a list":                      {"[]", "the catalog cannot be read"},
		"no format":                   {"{}", "the catalog has format 0, expected 1 to 1"},
		"a format below all":          {`{"format":-1}`, "the catalog has format -1, expected 1 to 1"},
		"a format that is text":       {`{"format":"1"}`, "the catalog cannot be read"},
		"a newer format":              {`{"format":2,"gates":[]}`, "it is 2, this release reads up to 1: upgrade this process"},
		"a field that is not known":   {strings.Replace(data, `"pacing"`, `"pacer"`, 1), `unknown field "connectors[0].spec.pacer"`},
		"a field in another case":     {strings.Replace(data, `"pacing"`, `"Pacing"`, 1), `unknown field "connectors[0].spec.Pacing"`},
		"a field twice":               {strings.Replace(data, `"format":1`, `"format":1,"format":1`, 1), `duplicate field "format"`},
		"null in a list":              {`{"format":1,"flows":[null]}`, "found null in a list, expected a resource"},
		"a value of another type":     {strings.Replace(data, `"calls":100`, `"calls":"x"`, 1), "the catalog cannot be read"},
		"a time that is none":         {strings.Replace(data, `"per":"1m0s"`, `"per":"soon"`, 1), "the catalog cannot be read"},
		"a kind of limit of tomorrow": {strings.Replace(data, `"concurrency":`, `"share":{"calls":1},"concurrency":`, 1), `unknown field "connectors[0].spec.limits[1].share"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			resources, err := catalog.Decode([]byte(test.data))
			if err == nil || !strings.Contains(err.Error(), test.want) || resources != nil {
				t.Errorf("%d resources, error %v, want one with %q", len(resources), err, test.want)
			}
			if errors.Is(err, catalog.ErrNewerFormat) != (name == "a newer format") {
				t.Errorf("error %v: ErrNewerFormat is only for a newer format", err)
			}
		})
	}
}

// What was checked when it was written is checked again where it is read: a
// document of another release may hold what this one cannot do.
func TestADocumentsMistakesAreNamedByKindAndName(t *testing.T) {
	data := encode(t, load(t))
	decoded, err := catalog.Decode(bytes.Replace(data, []byte(`"weight":7`), []byte(`"weight":0`), 1))
	if err != nil {
		t.Fatal(err)
	}
	_, problems := catalog.Compile(decoded, systems.Set())
	const want = "Connector/erp: spec.lanes[0].weight: found 0, expected a whole number from 1 to 1000"
	if problems.Error() != want {
		t.Errorf("found %s, want %s", problems.Error(), want)
	}
}

func TestTheDocumentIsBounded(t *testing.T) {
	resources := load(t)
	for i := range resources {
		flow, ok := resources[i].Object.(*v1alpha1.Flow)
		if !ok {
			continue
		}
		for n := range 100 {
			step := flow.Spec.Deliver[0]
			step.Name, step.Mapping = fmt.Sprint("step", n), strings.Repeat("x", 64<<10)
			flow.Spec.Deliver = append(flow.Spec.Deliver, step)
		}
	}
	_, err := catalog.Encode(resources)
	if err == nil || !strings.Contains(err.Error(), "expected at most 4194304: shorten mappings") {
		t.Errorf("error %v for a document of 6 MB", err)
	}
}

func TestWhatWasNotReadAsAWholeIsNotEncoded(t *testing.T) {
	for _, broken := range []edit{{"erp.yaml", "pacing: Even", "pacing: Evn"}, {"erp.yaml", "kind: Connector", "kind: Connector: x"}} {
		resources, problems := catalog.LoadDir(folder(t, edited(t, broken)))
		if _, err := catalog.Encode(resources); len(problems) == 0 || err == nil || !strings.Contains(err.Error(), "it was not read as a whole") {
			t.Errorf("%s: problems %v, error %v", broken.new, problems, err)
		}
	}
}

// Secrets never enter the catalog, because there is no field that would hold one:
// whatever is named after a secret refers to it by name.
func TestThereIsNoFieldForASecret(t *testing.T) {
	words := []string{"secret", "password", "passphrase", "token", "credential", "privatekey", "apikey", "accesskey", "bearer", "basicauth", "header"}
	fields := 0
	var walk func(path string, typ reflect.Type)
	walk = func(path string, typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ == reflect.TypeFor[v1alpha1.SecretReference]() {
			if typ.NumField() != 1 || typ.Field(0).Name != "Name" {
				t.Errorf("%s: a reference holds more than a name", path)
			}
			return
		}
		if typ == reflect.TypeFor[v1alpha1.HeaderName]() {
			return // the name of a header, and nothing that it would hold
		}
		if typ.Kind() != reflect.Struct || typ.PkgPath() != reflect.TypeFor[v1alpha1.Connector]().PkgPath() {
			if typ.Kind() == reflect.Map || typ.Kind() == reflect.Interface {
				t.Errorf("%s: a %s would take anything", path, typ)
			}
			for _, word := range words {
				if name := path[strings.LastIndex(path, ".")+1:]; strings.Contains(strings.ToLower(name), word) {
					t.Errorf("%s: what is named after a secret must be a SecretReference", path)
				}
			}
			return
		}
		for field := range typ.Fields() {
			fields++
			walk(path+"."+field.Name, field.Type)
		}
	}
	for _, spec := range []any{v1alpha1.ConnectorSpec{}, v1alpha1.FlowSpec{}, v1alpha1.StockPoolSpec{}, v1alpha1.NotificationPolicySpec{}} {
		walk(reflect.TypeOf(spec).Name(), reflect.TypeOf(spec))
	}
	if fields < 40 {
		t.Errorf("only %d fields were seen", fields)
	}
}

// A secret in the wrong place is refused, and no message repeats it: it would go
// on into logs and terminals. What is left out is left out of the document too.
func TestASecretInTheWrongPlaceIsNeitherKeptNorRepeated(t *testing.T) {
	const secret, digits = "shpat_Zx81qQ", "8155501234567"
	for name, e := range map[string]edit{
		"beside the reference":        {"erp.yaml", "secretRef: {name: erp}", "{secretRef: {name: erp}, token: " + secret + "}"},
		"in the place of the name":    {"erp.yaml", "{name: erp}", "{name: " + secret + "}"},
		"digits as the name":          {"erp.yaml", "{name: erp}", "{name: " + digits + "}"},
		"in the place of a reference": {"erp.yaml", "secretRef: {name: erp}", "secretRef: " + secret},
		"in the place of auth":        {"erp.yaml", "auth:\n    secretRef: {name: erp}", "auth: " + secret},
		"as a list":                   {"erp.yaml", "{name: erp}", "{name: [" + secret + "]}"},
		"of the webhook":              {"shop.yaml", "secretRef: {name: shop-webhook}", "secret: " + secret},
		"in the endpoint":             {"erp.yaml", "https://123456", "https://user:" + secret + "@123456"},
		"in an endpoint that is none": {"erp.yaml", "https://123456", "user:" + secret + "@123456"},
		"in the endpoint's query":     {"erp.yaml", "netsuite.com", "netsuite.com?key=" + secret},
		"in settings":                 {"texts.yaml", "    from:", "    authToken: " + secret + "\n    from:"},
		"as a new field":              {"erp.yaml", "  pacing:", "  password: " + secret + "\n  pacing:"},
	} {
		got := check(t, folder(t, edited(t, e)))
		text := strings.Join(got, "\n")
		if len(got) == 0 || strings.Contains(text, secret) || strings.Contains(text, digits) {
			t.Errorf("%s: found %q, want a problem without the secret in it", name, text)
		}
	}
	for name, e := range map[string]edit{
		"in an annotation": {"stock.yaml", "the web shop's", secret},
		"in the status":    {"stock.yaml", "spec:", "status: {note: " + secret + "}\nspec:"},
		"in a comment":     {"stock.yaml", "spec:", "# " + secret + "\nspec:"},
	} {
		if data := encode(t, load(t, e)); bytes.Contains(data, []byte(secret)) {
			t.Errorf("%s: the document holds it: %s", name, data)
		}
	}
}
