{{/* Small jobs: what they may, and what they see of the host. */}}

{{- define "hardtack.jobResources" -}}
resources:
  requests:
    cpu: 10m
    memory: 48Mi
  limits:
    memory: 128Mi
{{- end -}}

{{/* Into the host's namespaces, to tell its systemd; or a signal to k3s. Not privileged: no devices. */}}
{{- define "hardtack.restartsK3s" -}}
securityContext:
  runAsUser: 0
  runAsGroup: 0
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
    add: [SYS_ADMIN, SYS_CHROOT, SYS_PTRACE, KILL, DAC_OVERRIDE]
  {{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}
  appArmorProfile:
    type: Unconfined
  {{- end }}
{{- end -}}

{{- define "hardtack.hostSeen" -}}
- name: proc
  mountPath: /host/proc
  readOnly: true
- name: etc
  mountPath: /host/etc
  readOnly: true
- name: run
  mountPath: /host/run
  readOnly: true
  mountPropagation: HostToContainer
{{- end -}}

{{- define "hardtack.clusterName" -}}
{{- printf "%s-%s-host" (include "hardtack.namespace" .) (include "hardtack.name" .) -}}
{{- end -}}

{{- define "hardtack.ecrAws" -}}
{{- .Values.ecrCredentials.awsSecret | default .Values.s3Mount.credentialsSecret -}}
{{- end -}}

{{/* `include "hardtack.binding" (list . "-suffix")`: a Role to the account of the same name. */}}
{{- define "hardtack.binding" -}}
{{- $root := first . -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- include "hardtack.meta" (list $root (last . | trimPrefix "-") (last .)) | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ include "hardtack.name" $root }}{{ last . }}
subjects:
  - kind: ServiceAccount
    name: {{ include "hardtack.name" $root }}{{ last . }}
    namespace: {{ include "hardtack.namespace" $root }}
{{- end -}}
