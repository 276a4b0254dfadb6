{{/*
One role: its ServiceAccount, Deployment and PodDisruptionBudget.
Expects root, role (the subcommand), values, grace (seconds), and optional
arguments (list), ports (list), port (of the probes), api (it calls the API server),
scaled (something else sets its replicas), linger (seconds before it is told to stop).
*/}}
{{- define "peppasync.role" -}}
{{- $name := printf "%s-%s" (include "peppasync.fullname" .root) .role -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $name }}
  labels:
    {{- include "peppasync.labels" (dict "root" .root "component" .role) | nindent 4 }}
automountServiceAccountToken: false
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  labels:
    {{- include "peppasync.labels" (dict "root" .root "component" .role) | nindent 4 }}
spec:
  {{- if not .scaled }}
  replicas: {{ .values.replicas }}
  {{- end }}
  # One more first, and nobody leaves before it works.
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  selector:
    matchLabels:
      {{- include "peppasync.selector" (dict "root" .root "component" .role) | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "peppasync.labels" (dict "root" .root "component" .role) | nindent 8 }}
        {{- with .root.Values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .root.Values.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ $name }}
      automountServiceAccountToken: {{ .api | default false }}
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ .grace }}
      securityContext:
        {{- include "peppasync.podSecurity" (dict "root" .root) | nindent 8 }}
      {{- include "peppasync.placement" (dict "root" .root "component" .role) | nindent 6 }}
      containers:
        - name: {{ .role }}
          image: {{ include "peppasync.image" (dict "root" .root "name" "peppasync") }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          args:
            - {{ .role }}
            - --owner=$(POD_NAME)
            {{- include "peppasync.busArguments" .root | nindent 12 }}
            {{- include "peppasync.logArguments" .root | nindent 12 }}
            {{- range .arguments }}
            - {{ . }}
            {{- end }}
          env:
            {{- include "peppasync.environment" .root | nindent 12 }}
          ports:
            - {name: metrics, containerPort: 9464}
            {{- range .ports }}
            - {{ toJson . }}
            {{- end }}
          livenessProbe:
            httpGet: {path: /healthz, port: {{ .port | default "metrics" }}}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /readyz, port: {{ .port | default "metrics" }}}
            periodSeconds: 2
            timeoutSeconds: 5
            failureThreshold: 2
          {{- with .linger }}
          # Senders are sent elsewhere first: it takes the cluster a moment to hear that it goes.
          lifecycle:
            preStop:
              sleep: {seconds: {{ . }}}
          {{- end }}
          resources:
            {{- toYaml .values.resources | nindent 12 }}
          securityContext:
            {{- include "peppasync.containerSecurity" . | nindent 12 }}
          volumeMounts:
            - {name: nats, mountPath: /etc/peppasync/nats, readOnly: true}
      volumes:
        {{- include "peppasync.natsVolume" (dict "root" .root "user" .role) | nindent 8 }}
---
{{ include "peppasync.budget" (dict "root" .root "component" .role "name" $name "budget" .values.podDisruptionBudget) }}
{{- end -}}

{{- define "peppasync.budget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  labels:
    {{- include "peppasync.labels" (dict "root" .root "component" .component) | nindent 4 }}
spec:
  {{- /* Of the two only one may be there, and the default of the other stays where values are merged. */}}
  {{- if hasKey .budget "minAvailable" }}
  minAvailable: {{ .budget.minAvailable }}
  {{- else }}
  maxUnavailable: {{ .budget.maxUnavailable }}
  {{- end }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "peppasync.selector" (dict "root" .root "component" .component) | nindent 6 }}
{{- end -}}
