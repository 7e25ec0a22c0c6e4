{{/* The mount: its paths, its container, and how others see what it mounts. */}}

{{- define "hardtack.cachePath" -}}
{{- .Values.s3Mount.cachePath | default (printf "%s-cache" .Values.s3Mount.mountPath) -}}
{{- end -}}

{{- define "hardtack.holdSocket" -}}
{{- .Values.mount.keeper.directory }}/hold.sock
{{- end -}}

{{- define "hardtack.holdVolume" -}}
- name: hold
  hostPath:
    path: {{ .Values.mount.keeper.directory }}
    type: DirectoryOrCreate
{{- end -}}

{{- define "hardtack.kubeletHasSidecars" -}}
{{- if or (eq .Values.mount.nativeSidecar "always") (and (eq .Values.mount.nativeSidecar "auto") (semverCompare ">=1.29.0-0" .Capabilities.KubeVersion.Version)) -}}
yes
{{- end -}}
{{- end -}}

{{- define "hardtack.unsigned" -}}
{{- if eq (toString .Values.s3Mount.unsigned) "auto" -}}
{{- if not .Values.s3Mount.credentialsSecret }}true{{ end -}}
{{- else if eq (toString .Values.s3Mount.unsigned) "true" -}}
true
{{- end -}}
{{- end -}}

{{/* A read through the mount, in time; it says nothing of the network. */}}
{{- define "hardtack.mountProbe" -}}
exec:
  command: [hardtack, health, {{ .Values.s3Mount.mountPath | quote }}, --timeout, 8s]
timeoutSeconds: 10
{{- end -}}

{{- define "hardtack.mountContainer" -}}
{{- $s3 := .Values.s3Mount -}}
- name: mount
  {{- include "hardtack.run" . | nindent 2 }}
  command: [hardtack, mount, "-f"]
  env:
    - name: S3_BUCKET
      value: {{ $s3.bucket | quote }}
    - name: S3_REGION
      value: {{ $s3.region | quote }}
    - name: MOUNT_PATH
      value: {{ $s3.mountPath | quote }}
    - name: CACHE_PATH
      value: {{ include "hardtack.cachePath" . | quote }}
    {{- with $s3.prefix }}
    - name: HARDTACK_PREFIX
      value: {{ . | quote }}
    {{- end }}
    {{- with $s3.endpointUrl }}
    - name: HARDTACK_ENDPOINT_URL
      value: {{ . | quote }}
    {{- end }}
    {{- with $s3.release }}
    - name: HARDTACK_FOLLOW
      value: {{ printf "release %s" . | quote }}
    {{- end }}
    {{- if include "hardtack.unsigned" . }}
    - name: HARDTACK_UNSIGNED
      value: "true"
    {{- end }}
    {{- with $s3.cacheSize }}
    - name: HARDTACK_CACHE_SIZE
      value: {{ . | quote }}
    {{- end }}
    - name: HARDTACK_KEEP_FREE
      value: {{ $s3.keepFree | quote }}
    - name: HARDTACK_REFRESH_INTERVAL
      value: {{ $s3.refreshInterval | quote }}
    {{- if $s3.credentialsSecret }}
    - name: AWS_SHARED_CREDENTIALS_FILE
      value: /etc/hardtack/aws/credentials
    - name: AWS_CONFIG_FILE
      value: /etc/hardtack/aws/config
    {{- end }}
    {{- if .Values.mount.keeper.enabled }}
    - name: HARDTACK_HOLD
      value: {{ include "hardtack.holdSocket" . | quote }}
    {{- end }}
    # A pod that is replaced may still be ending.
    - name: HARDTACK_HANDOVER
      value: 2m
    {{- include "hardtack.log" . | nindent 4 }}
    {{- with include "hardtack.proxy" . }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with include "hardtack.env" .Values.mount.env }}
    {{- . | nindent 4 }}
    {{- end }}
  # For a first listing over a slow link; with no network and nothing known it waits. Twice in 10 s,
  # for the endpoint is started after it; not oftener, for each try starts a Python.
  startupProbe:
    {{- include "hardtack.mountProbe" . | nindent 4 }}
    periodSeconds: 5
    failureThreshold: {{ mul 2 .Values.mount.startupProbe.failureThreshold }}
  livenessProbe:
    {{- include "hardtack.mountProbe" . | nindent 4 }}
    periodSeconds: 30
    failureThreshold: 3
  readinessProbe:
    {{- include "hardtack.mountProbe" . | nindent 4 }}
    periodSeconds: 30
    failureThreshold: 1
  resources:
    {{- toYaml .Values.mount.resources | nindent 4 }}
  securityContext:
    privileged: true
    runAsUser: 0
    runAsGroup: 0
    readOnlyRootFilesystem: true
  volumeMounts:
    - name: weights
      mountPath: {{ dir $s3.mountPath }}
      mountPropagation: Bidirectional
    - name: cache
      mountPath: {{ include "hardtack.cachePath" . }}
    - name: mount-tmp
      mountPath: /tmp
    {{- if .Values.mount.keeper.enabled }}
    - name: hold
      mountPath: {{ .Values.mount.keeper.directory }}
    {{- end }}
    {{- if $s3.credentialsSecret }}
    - name: aws
      mountPath: /etc/hardtack/aws
      readOnly: true
    {{- end }}
{{- end -}}

{{- define "hardtack.mountVolumes" -}}
- name: cache
  hostPath:
    path: {{ include "hardtack.cachePath" . }}
    type: DirectoryOrCreate
- name: mount-tmp
  emptyDir:
    sizeLimit: 64Mi
{{- if .Values.mount.keeper.enabled }}
{{ include "hardtack.holdVolume" . }}
{{- end }}
{{- if .Values.s3Mount.credentialsSecret }}
- name: aws
  secret:
    secretName: {{ .Values.s3Mount.credentialsSecret }}
    defaultMode: 0400
    optional: true
{{- end }}
{{- end -}}

{{/* The mount's parent: a bind of the mount itself would show a dead one after a remount. */}}
{{- define "hardtack.weightsVolume" -}}
- name: weights
  hostPath:
    path: {{ dir .Values.s3Mount.mountPath }}
    type: DirectoryOrCreate
{{- end -}}

{{- define "hardtack.weightsSeen" -}}
- name: weights
  mountPath: {{ dir .Values.s3Mount.mountPath }}
  mountPropagation: HostToContainer
  readOnly: true
{{- end -}}
