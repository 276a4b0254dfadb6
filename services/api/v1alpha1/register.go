package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is peppasync.io/v1alpha1.
var GroupVersion = schema.GroupVersion{Group: "peppasync.io", Version: "v1alpha1"}

var (
	// SchemeBuilder collects what AddToScheme does.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)
	// AddToScheme makes the kinds of this package known to a scheme.
	AddToScheme = SchemeBuilder.AddToScheme
)

// The kinds, as a resource's "kind" spells them.
const (
	KindConnector          = "Connector"
	KindFlow               = "Flow"
	KindStockPool          = "StockPool"
	KindNotificationPolicy = "NotificationPolicy"
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&Connector{}, &ConnectorList{},
		&Flow{}, &FlowList{},
		&StockPool{}, &StockPoolList{},
		&NotificationPolicy{}, &NotificationPolicyList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
