{{/* What the endpoint is told, and where it keeps what it knows. */}}

{{- define "hardtack.statePath" -}}
{{- printf "%s/endpoint" .Values.paths.edge -}}
{{- end -}}

{{/* The ConfigMap's data: what would start the pod anew when it changes. */}}
{{- define "hardtack.configuration" -}}
values.yaml: |
  {{- omit .Values "groundlightApiToken" "global" "image" "inferenceImage" | toYaml | nindent 2 }}
edge-config.yaml: |
  {{- .Values.configFile | nindent 2 }}
{{- if .Values.detectors }}
detectors.yaml: |
  {{- dict "detectors" .Values.detectors | toYaml | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The account's token, in the one container that speaks to the cluster. */}}
{{- define "hardtack.tokenVolume" -}}
- name: token
  projected:
    defaultMode: 0444
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3607
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                fieldPath: metadata.namespace
{{- end -}}

{{- define "hardtack.endpointEnv" -}}
- name: HARDTACK_ENDPOINT_MODELS
  value: {{ printf "%s/%s" .Values.s3Mount.mountPath .Values.modelsPath | trimSuffix "/" | quote }}
{{- if .Values.detectors }}
- name: HARDTACK_ENDPOINT_DETECTORS
  value: /etc/hardtack/given/detectors.yaml
{{- end }}
- name: HARDTACK_ENDPOINT_STATE
  value: {{ include "hardtack.statePath" . | quote }}
{{- with .Values.upstreamEndpoint }}
- name: HARDTACK_ENDPOINT_UPSTREAM
  value: {{ . | quote }}
{{- end }}
- name: HARDTACK_ENDPOINT_HOST
  value: 0.0.0.0
- name: HARDTACK_ENDPOINT_PORT
  value: {{ .Values.edgeEndpointPort | quote }}
- name: HARDTACK_ENDPOINT_HTTPS_PORT
  value: {{ .Values.edgeEndpointHttpsPort | quote }}
{{- if .Values.httpEnabled }}
- name: HARDTACK_ENDPOINT_PLAIN_HTTP
  value: "true"
{{- end }}
{{- if .Values.tlsSecret }}
- name: HARDTACK_ENDPOINT_TLS_CERT
  value: /etc/hardtack/tls/tls.crt
- name: HARDTACK_ENDPOINT_TLS_KEY
  value: /etc/hardtack/tls/tls.key
{{- end }}
- name: HARDTACK_ENDPOINT_BACKEND
  value: kubernetes
- name: HARDTACK_ENDPOINT_NAMESPACE
  value: {{ include "hardtack.namespace" . }}
- name: HARDTACK_ENDPOINT_INFERENCE_IMAGE
  value: {{ include "hardtack.inferenceImage" . | quote }}
- name: HARDTACK_ENDPOINT_IMAGE_PULL_POLICY
  value: {{ .Values.imagePullPolicy }}
- name: HARDTACK_ENDPOINT_FLAVOR
  value: {{ .Values.inferenceFlavor }}
{{- if ne .Values.inferenceFlavor "cpu" }}
- name: HARDTACK_ENDPOINT_RUNTIME_CLASS
  value: {{ .Values.inferenceDeployment.runtimeClassName | quote }}
{{- end }}
- name: HARDTACK_ENDPOINT_CPU_THREADS
  value: {{ .Values.inferenceDeployment.cpuThreads | quote }}
{{- $resources := .Values.inferenceDeployment.resources }}
{{- $limits := $resources.limits | default dict }}
{{- $requests := $resources.requests | default dict }}
{{- with $limits.memory }}
- name: HARDTACK_ENDPOINT_MEMORY
  value: {{ . | quote }}
{{- end }}
{{- with $limits.cpu }}
- name: HARDTACK_ENDPOINT_CPU_LIMIT
  value: {{ . | quote }}
{{- end }}
{{- with $requests.memory }}
- name: HARDTACK_ENDPOINT_MEMORY_REQUEST
  value: {{ . | quote }}
{{- end }}
{{- with $requests.cpu }}
- name: HARDTACK_ENDPOINT_CPU_REQUEST
  value: {{ . | quote }}
{{- end }}
- name: HARDTACK_ENDPOINT_ARRIVAL_TIME
  value: {{ .Values.inferenceDeployment.arrivalTime | quote }}
{{- with include "hardtack.pullSecretNames" . }}
- name: HARDTACK_ENDPOINT_IMAGE_PULL_SECRET
  value: {{ . | quote }}
{{- end }}
{{- if .Values.nodeSelector }}
- name: HARDTACK_ENDPOINT_NODE_SELECTOR
  value: {{ include "hardtack.nodeLabels" . | quote }}
{{- end }}
- name: HARDTACK_ENDPOINT_MOUNT_PATH
  value: {{ .Values.s3Mount.mountPath | quote }}
{{- if or .Values.groundlightApiToken .Values.groundlightApiTokenSecret }}
- name: GROUNDLIGHT_API_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .Values.groundlightApiTokenSecret | default (printf "%s-token" (include "hardtack.name" .)) }}
      key: token
{{- end }}
{{ include "hardtack.log" . }}
{{- include "hardtack.proxy" . }}
{{- include "hardtack.env" .Values.endpoint.env }}
{{- end -}}

{{/* `key=value key=value`, as an option that may be repeated reads it from its variable. */}}
{{- define "hardtack.nodeLabels" -}}
{{- $labels := list -}}
{{- range $key, $value := .Values.nodeSelector }}{{ $labels = append $labels (printf "%s=%s" $key $value) }}{{ end -}}
{{- join " " $labels -}}
{{- end -}}

{{/* Images of inference servers that aren't ours, as containers; empty when there are none. */}}
{{- define "hardtack.otherImages" -}}
{{- if .Values.inferenceImage.repository }}
- name: inference-server
  image: {{ include "hardtack.inferenceImage" . | quote }}
  imagePullPolicy: {{ .Values.imagePullPolicy }}
{{- end }}
{{- range $number, $detector := .Values.detectors }}
{{- with get ($detector.server | default dict) "image" }}
- name: server-{{ $number }}
  image: {{ . | quote }}
  imagePullPolicy: {{ $.Values.imagePullPolicy }}
{{- end }}
{{- end }}
{{- end -}}
