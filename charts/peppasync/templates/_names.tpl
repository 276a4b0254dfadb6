{{/* Names, labels, and what all pods have alike. */}}

{{- define "peppasync.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
What is of the whole cluster is named after the namespace too, and whole: names of such
objects may have 253 letters, and two namespaces may begin alike.
*/}}
{{- define "peppasync.clusterName" -}}
{{- printf "%s-%s" (include "peppasync.fullname" .) .Release.Namespace -}}
{{- end -}}

{{- define "peppasync.image" -}}
{{- $tag := default .root.Chart.AppVersion .root.Values.image.tag -}}
{{- $path := printf "peppasync/%s:%s" .name $tag -}}
{{- if .root.Values.image.registry -}}{{ .root.Values.image.registry }}/{{ end }}{{ $path }}
{{- end -}}

{{- define "peppasync.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "peppasync.labels" -}}
{{ include "peppasync.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | replace "+" "_" | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/*
Expects root. A number that a value removes is the cluster's to choose. Values of a release
before podSecurityContext was one have what was written here then, whole: without fsGroup
nobody could read its keys.
*/}}
{{- define "peppasync.podSecurity" -}}
{{- $ids := dict "runAsUser" 65532 "runAsGroup" 65532 "fsGroup" 65532 -}}
{{- if hasKey .root.Values "podSecurityContext" }}{{ $ids = .root.Values.podSecurityContext | default dict }}{{ end -}}
runAsNonRoot: true
{{- range $name := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- with get $ids $name }}
{{ $name }}: {{ int64 . }}
{{- end }}
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "peppasync.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Which nodes take pods, those of hooks too. Expects root. */}}
{{- define "peppasync.where" -}}
{{- $where := dict -}}
{{- with .root.Values.image.pullSecrets -}}
{{- $names := list -}}
{{- range . }}{{ $names = append $names (dict "name" .) }}{{ end -}}
{{- $_ := set $where "imagePullSecrets" $names -}}
{{- end -}}
{{- with .root.Values.priorityClassName }}{{ $_ := set $where "priorityClassName" . }}{{ end -}}
{{- with .root.Values.nodeSelector }}{{ $_ := set $where "nodeSelector" . }}{{ end -}}
{{- with .root.Values.tolerations }}{{ $_ := set $where "tolerations" . }}{{ end -}}
{{- if $where }}{{ toYaml $where }}{{ end -}}
{{- end -}}

{{/* Where pods go: expects root and component. */}}
{{- define "peppasync.placement" -}}
{{- include "peppasync.where" . }}
{{- if .root.Values.topologySpread.topologyKeys }}
topologySpreadConstraints:
{{- range .root.Values.topologySpread.topologyKeys }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ $.root.Values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "peppasync.selector" (dict "root" $.root "component" $.component) | nindent 8 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The bus. */}}

{{- define "peppasync.natsName" -}}{{ include "peppasync.fullname" . }}-nats{{- end -}}
{{- define "peppasync.natsPeers" -}}{{ include "peppasync.fullname" . }}-nats-peers{{- end -}}

{{- define "peppasync.natsURLs" -}}
{{- if .Values.nats.enabled -}}
{{- $urls := list -}}
{{- range $i := until (int .Values.nats.replicas) -}}
{{- $urls = append $urls (printf "tls://%s-%d.%s.%s.svc:4222" (include "peppasync.natsName" $) $i (include "peppasync.natsPeers" $) $.Release.Namespace) -}}
{{- end -}}
{{- join "," $urls -}}
{{- else -}}
{{- required "nats.external.url is needed where nats.enabled is false" .Values.nats.external.url -}}
{{- end -}}
{{- end -}}

{{- define "peppasync.natsMonitors" -}}
{{- if .Values.nats.enabled -}}
{{- $urls := list -}}
{{- range $i := until (int .Values.nats.replicas) -}}
{{- $urls = append $urls (printf "http://%s-%d.%s.%s.svc:8222" (include "peppasync.natsName" $) $i (include "peppasync.natsPeers" $) $.Release.Namespace) -}}
{{- end -}}
{{- join "," $urls -}}
{{- else -}}
{{- .Values.nats.external.monitorURL -}}
{{- end -}}
{{- end -}}

{{- define "peppasync.secretPrefix" -}}
{{- if .Values.nats.enabled -}}
{{ include "peppasync.natsName" . }}-
{{- else -}}
{{- required "nats.external.nkeySecretPrefix is needed where nats.enabled is false" .Values.nats.external.nkeySecretPrefix -}}
{{- end -}}
{{- end -}}

{{/* A user's own key, and the CA's certificate without its key. Expects root and user. */}}
{{- define "peppasync.natsVolume" -}}
- name: nats
  projected:
    defaultMode: 0440
    sources:
      - secret:
          {{- if .root.Values.nats.enabled }}
          name: {{ include "peppasync.secretPrefix" .root }}server
          items: [{key: ca.crt, path: ca.crt}]
          {{- else }}
          name: {{ required "nats.external.caSecret.name is needed where nats.enabled is false" .root.Values.nats.external.caSecret.name }}
          items: [{key: {{ .root.Values.nats.external.caSecret.key }}, path: ca.crt}]
          {{- end }}
      - secret:
          name: {{ include "peppasync.secretPrefix" .root }}{{ .user }}
          items: [{key: nkey, path: nkey}]
{{- end -}}

{{- define "peppasync.busArguments" -}}
- --nats={{ include "peppasync.natsURLs" . }}
- --nats-ca=/etc/peppasync/nats/ca.crt
- --nats-nkey=/etc/peppasync/nats/nkey
{{- end -}}

{{- define "peppasync.logArguments" -}}
- --log-format={{ .Values.log.format }}
- --log-level={{ .Values.log.level }}
- --metrics-listen=:9464
{{- with .Values.telemetry.otlpEndpoint }}
- --otlp-endpoint={{ . }}
{{- end }}
{{- end -}}

{{- define "peppasync.environment" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- if .Values.telemetry.otlpEndpoint }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ .Values.telemetry.tracesSampleRatio | quote }}
{{- end }}
{{- end -}}

{{/*
Four fifths of a volume, in bytes. A volume that is full stops every stream until NATS is
started again; a store that is full is told cleanly.
*/}}
{{- define "peppasync.storeBytes" -}}
{{- $units := dict "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $size := .Values.nats.storage.size -}}
{{- $unit := regexFind "[MGT]i$" $size -}}
{{- div (mul (trimSuffix $unit $size | int64) (get $units $unit | int64) 8) 10 -}}
{{- end -}}
