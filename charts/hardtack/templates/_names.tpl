{{/* Names, labels and images: what every template needs. */}}

{{- define "hardtack.name" -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "hardtack.namespace" -}}
{{- .Values.namespace | default .Release.Namespace -}}
{{- end -}}

{{- define "hardtack.account" -}}
{{- .Values.serviceAccount.name | default (include "hardtack.name" .) -}}
{{- end -}}

{{/* `include "hardtack.selector" (list . "endpoint")`: never changes, for selectors can't. */}}
{{- define "hardtack.selector" -}}
app.kubernetes.io/name: hardtack
app.kubernetes.io/instance: {{ include "hardtack.name" (first .) }}
app.kubernetes.io/component: {{ last . }}
{{- end -}}

{{- define "hardtack.labels" -}}
{{ include "hardtack.selector" . }}
app.kubernetes.io/version: {{ (first .).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (first .).Release.Service }}
{{- end -}}

{{/* `include "hardtack.meta" (list . "endpoint" "-suffix")` */}}
{{- define "hardtack.meta" -}}
{{- $root := first . -}}
name: {{ include "hardtack.name" $root }}{{ last . }}
namespace: {{ include "hardtack.namespace" $root }}
labels:
  {{- include "hardtack.labels" (list $root (index . 1)) | nindent 2 }}
{{- end -}}

{{- define "hardtack.image" -}}
{{- $image := .Values.image -}}
{{- $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{- define "hardtack.inferenceImage" -}}
{{- $image := .Values.inferenceImage -}}
{{- if $image.repository -}}
{{- $image.repository }}{{ with $image.tag }}:{{ . }}{{ end }}{{ with $image.digest }}@{{ . }}{{ end -}}
{{- else -}}
{{- include "hardtack.image" . -}}
{{- end -}}
{{- end -}}

{{- define "hardtack.run" -}}
image: {{ include "hardtack.image" . | quote }}
imagePullPolicy: {{ .Values.imagePullPolicy }}
{{- end -}}

{{/* Separated by blanks. */}}
{{- define "hardtack.pullSecretNames" -}}
{{- $names := .Values.imagePullSecrets -}}
{{- if .Values.ecrRegistry }}{{ $names = append $names .Values.ecrCredentials.secretName }}{{ end -}}
{{- $names | uniq | join " " -}}
{{- end -}}

{{/* What pods have in common, but for their accounts. */}}
{{- define "hardtack.pod" -}}
# Else a Service named after a program would set that program's variables.
enableServiceLinks: false
{{- with include "hardtack.pullSecretNames" . }}
imagePullSecrets:
  {{- range splitList " " . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "hardtack.confined" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{- define "hardtack.log" -}}
- name: HARDTACK_LOG_LEVEL
  value: {{ .Values.logLevel | lower }}
- name: HARDTACK_LOG_FORMAT
  value: {{ .Values.logFormat }}
{{- end -}}

{{- define "hardtack.proxy" -}}
{{- with .Values.proxy }}
- name: HTTPS_PROXY
  value: {{ . | quote }}
- name: HTTP_PROXY
  value: {{ . | quote }}
- name: NO_PROXY
  value: {{ list "localhost,127.0.0.1,$(KUBERNETES_SERVICE_HOST),.svc,.cluster.local" $.Values.noProxy | compact | join "," | quote }}
{{- end }}
{{- end -}}

{{/* A map of name to text, as environment. */}}
{{- define "hardtack.env" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end -}}
{{- end -}}
