{{/* Ports that pods may reach: DNS, HTTPS, Kubernetes' API ("api"), and those of URLs. */}}
{{- define "hardtack.outward" -}}
{{- $ports := list "443" -}}
{{- if eq (index . 1) "api" }}{{ $ports = append $ports "6443" }}{{ end -}}
{{- range rest (rest .) }}
{{- if . }}
{{- $url := urlParse . -}}
{{- $plain := ternary "80" "443" (eq $url.scheme "http") -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default $plain) -}}
{{- end }}
{{- end -}}
- port: 53
  protocol: UDP
- port: 53
{{- range $ports | uniq }}
- port: {{ . }}
{{- end }}
{{- end -}}

{{/* What the endpoint's Kubernetes backend puts on the pods that it makes. */}}
{{- define "hardtack.inferenceLabels" -}}
app.kubernetes.io/managed-by: hardtack
app.kubernetes.io/component: inference
{{- end -}}
