package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/peppasync/peppasync/services/api/v1alpha1"
	"github.com/peppasync/peppasync/services/connectors/systems"
	"github.com/peppasync/peppasync/services/internal/catalog"
	"github.com/peppasync/peppasync/services/operator/internal/access"
	"github.com/peppasync/peppasync/services/operator/internal/backlog"
)

// sentences is how many problems an answer lists: a person mends a few and applies again.
const sentences = 10

// admit answers whether a resource may be written, or deleted.
func (o *operator) admit(ctx context.Context, r admission.Request) admission.Response {
	if r.Operation == admissionv1.Delete {
		return o.admitDeletion(ctx, r)
	}
	written := catalog.NewObject(r.Kind.Kind)
	if written == nil {
		return admission.Allowed("")
	}
	if err := json.Unmarshal(r.Object.Raw, written); err != nil {
		return admission.Errored(http.StatusBadRequest, fmt.Errorf("read the %s: %w", r.Kind.Kind, err))
	}
	if r.Operation == admissionv1.Update && !changes(r, written) {
		return admission.Allowed("")
	}
	all, err := o.resources(ctx, o.client)
	if err != nil {
		return admission.Errored(http.StatusServiceUnavailable, err)
	}
	refused, missing := judge(all.catalog(), resource(r.Kind.Kind, written))
	refused = append(ownSecrets(written, o.config.reserved()), refused...)
	if len(refused) > 0 {
		return admission.Denied(strings.Join(refused, "; "))
	}
	return admission.Allowed("").WithWarnings(missing...)
}

// ownSecrets returns what is wrong with a Connector that names Secrets of the installation:
// its throttle-dispatcher would send them to the Connector's endpoint.
func ownSecrets(written object, reserved access.Reserved) (refused []string) {
	c, ok := written.(*v1alpha1.Connector)
	if !ok {
		return nil
	}
	say := func(field, name string) {
		if reserved.Has(name) {
			refused = append(refused, fmt.Sprintf("%s: Secret %q belongs to the installation, and no Connector may have it: "+
				"put what the system gave you into a Secret of another name", field, name))
		}
	}
	if c.Spec.Auth != nil {
		say("spec.auth.secretRef.name", c.Spec.Auth.SecretRef.Name)
	}
	if c.Spec.Webhook != nil {
		say("spec.webhook.secretRef.name", c.Spec.Webhook.SecretRef.Name)
	}
	return refused
}

// changes reports whether an update changes what the roles would work by. What does not is
// let through whatever it holds: a finalizer has to go from a resource that is wrong, too.
func changes(r admission.Request, written object) bool {
	if !written.GetDeletionTimestamp().IsZero() {
		return false
	}
	before := catalog.NewObject(r.Kind.Kind)
	if err := json.Unmarshal(r.OldObject.Raw, before); err != nil {
		return true
	}
	before.SetDefaults()
	after, ok := written.DeepCopyObject().(object)
	if !ok {
		return true
	}
	after.SetDefaults()
	switch x := after.(type) {
	case *v1alpha1.Connector:
		y, ok := before.(*v1alpha1.Connector)
		return !ok || !equality.Semantic.DeepEqual(x.Spec, y.Spec)
	case *v1alpha1.Flow:
		y, ok := before.(*v1alpha1.Flow)
		return !ok || !equality.Semantic.DeepEqual(x.Spec, y.Spec)
	case *v1alpha1.StockPool:
		y, ok := before.(*v1alpha1.StockPool)
		return !ok || !equality.Semantic.DeepEqual(x.Spec, y.Spec)
	case *v1alpha1.NotificationPolicy:
		y, ok := before.(*v1alpha1.NotificationPolicy)
		return !ok || !equality.Semantic.DeepEqual(x.Spec, y.Spec)
	}
	return true
}

// judge returns what is wrong with a resource beside the others, or what it makes wrong with
// them; and what only is not there yet: a Flow may be applied before its Connectors.
func judge(others []catalog.Resource, written catalog.Resource) (refused, missing []string) {
	before := slices.Clone(others)
	after := append(slices.DeleteFunc(slices.Clone(others), func(r catalog.Resource) bool { return r.File == written.File }), written)
	if found := compiled(after); len(found) > 0 { // else what was wrong before need not be known
		refused, missing = wrong(before, after, found, written.File)
	}
	for _, p := range catalog.Advice(after, systems.Set()) {
		if p.File == written.File {
			missing = append(missing, sentence(p, written.File))
		}
	}
	return refused[:min(len(refused), sentences)], missing[:min(len(missing), sentences)]
}

// wrong divides what is found of the resources, with the one that is written, into what was
// not so before and what is only not there yet.
func wrong(before, after []catalog.Resource, found catalog.Problems, written string) (refused, missing []string) {
	known := map[string]bool{}
	for _, p := range compiled(before) {
		if p.File != written {
			known[p.Error()] = true
		}
	}
	fatal := map[string]bool{}
	// An unknown resource beside them may be any Connector that is missing.
	for _, p := range compiled(append(slices.Clone(after), catalog.Resource{})) {
		if known[p.Error()] {
			continue
		}
		fatal[p.Error()] = true
		refused = append(refused, sentence(p, written))
	}
	for _, p := range found {
		if p.File == written && !fatal[p.Error()] {
			missing = append(missing, sentence(p, written)+"; it is not in use until there is")
		}
	}
	return refused, missing
}

func compiled(resources []catalog.Resource) catalog.Problems {
	_, problems := catalog.Compile(resources, systems.Set())
	return problems
}

func sentence(p catalog.Problem, about string) string {
	text := p.Message
	if p.Field != "" {
		text = p.Field + ": " + text
	}
	if p.File != about {
		text = p.File + " would not compile any more: " + text
	}
	return text
}

// admitDeletion refuses to delete a Connector that orders are queued for.
func (o *operator) admitDeletion(ctx context.Context, r admission.Request) admission.Response {
	if r.Kind.Kind != v1alpha1.KindConnector {
		return admission.Allowed("")
	}
	// With a namespace goes all that is in it; the finalizer still sees to what is queued.
	var namespace corev1.Namespace
	if err := o.reader.Get(ctx, types.NamespacedName{Name: r.Namespace}, &namespace); err != nil {
		return admission.Errored(http.StatusServiceUnavailable, fmt.Errorf("read namespace %s: %w", r.Namespace, err))
	}
	if !namespace.DeletionTimestamp.IsZero() {
		return admission.Allowed("")
	}
	all, err := o.resources(ctx, o.client)
	if err != nil {
		return admission.Errored(http.StatusServiceUnavailable, err)
	}
	obstacles, err := o.obstacles(ctx, r.Name, &all)
	if err != nil {
		return admission.Denied(fmt.Sprintf("whether orders are queued for Connector %s cannot be seen now, try again: %v", r.Name, err))
	}
	if len(obstacles) > 0 {
		return admission.Denied(fmt.Sprintf("Connector %s cannot be deleted: %s", r.Name, strings.Join(obstacles, "; ")))
	}
	return o.admitLaterSteps(ctx, r.Name)
}

// stepsTimeout bounds how long it is looked for steps that wait for others, so that the
// answer comes within the 10 s of the webhook.
const stepsTimeout = 3 * time.Second

// admitLaterSteps refuses to delete a Connector that nothing is queued for, but at which
// orders have something to deliver after another step. Where that cannot be seen in time,
// because very many orders wait elsewhere, the finalizer sees to it, and the answer says so.
func (o *operator) admitLaterSteps(ctx context.Context, connector string) admission.Response {
	ctx, cancel := context.WithTimeout(ctx, stepsTimeout)
	defer cancel()
	steps := backlog.NewSteps(o.config.Bus, connector)
	err := steps.Look(ctx, stepsAtOnce)
	for err == nil && steps.Left() > 0 {
		err = steps.Look(ctx, stepsAtOnce)
	}
	if text := steps.Obstacle(); text != "" {
		return admission.Denied(fmt.Sprintf("Connector %s cannot be deleted: %s", connector, text))
	}
	switch {
	case err == nil:
		return admission.Allowed("")
	case ctx.Err() != nil:
		return admission.Allowed("").WithWarnings("many orders wait at other Connectors, and not all were looked at for a step at " + connector +
			" that comes later: it stays until they were, and until each has been there; its condition Draining says how that goes")
	}
	return admission.Denied(fmt.Sprintf("whether orders have a step at Connector %s that waits for another cannot be seen now, try again: %v", connector, err))
}
