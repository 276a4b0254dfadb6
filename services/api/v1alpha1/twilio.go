package v1alpha1

// TwilioSettings are the settings of a Twilio account.
type TwilioSettings struct {
	// +kubebuilder:validation:MaxLength=34
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^AC[0-9a-f]{32}$')`,message="accountSID is AC and 32 hexadecimal digits"
	// +required
	AccountSID string `json:"accountSID"`
	// The number that texts come from, in E.164 form.
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule=`self.matches(r'^\+[1-9][0-9]{6,14}$')`,message="from is a phone number in E.164 form, in quotes, such as +15550100001"
	// +required
	From string `json:"from"`
}
