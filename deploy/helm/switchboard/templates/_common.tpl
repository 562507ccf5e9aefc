{{/* What all pods have in common. Only what Go's templates know by themselves is used here, so that the chart can be
rendered without Helm, too. */}}

{{- define "switchboard.labels" }}
    app.kubernetes.io/name: switchboard
    app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "switchboard.selector" }}
      app.kubernetes.io/name: switchboard
      app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "switchboard.podlabels" }}
        app.kubernetes.io/name: switchboard
        app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* Processes read models.toml when they start: pods are replaced when it has changed, as with a changed variable. */}}
{{- define "switchboard.podannotations" }}
        switchboard/models.toml: {{ printf "%q" .Values.models }}
{{- end }}

{{- define "switchboard.pod" }}
      automountServiceAccountToken: false
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        seccompProfile:
          type: RuntimeDefault
      volumes:
        - name: secrets
          secret:
            secretName: {{ .Values.secretName }}
            defaultMode: 0440
        - name: models
          configMap:
            name: {{ .Release.Name }}-models
        - name: state
          emptyDir: {}
        - name: tmp
          emptyDir: {}
{{- end }}

{{- define "switchboard.container" }}
          image: {{ printf "%s:%s" .Values.image.repository .Values.image.tag | printf "%q" }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
          volumeMounts:
            - name: secrets
              mountPath: /run/secrets/switchboard
              readOnly: true
            - name: models
              mountPath: /etc/switchboard
              readOnly: true
            - name: state
              mountPath: /var/lib/switchboard
            - name: tmp
              mountPath: /tmp
          env:
            - name: SWITCHBOARD_SECRETS_DIR
              value: /run/secrets/switchboard
            - name: SWITCHBOARD_MODELS
              value: /etc/switchboard/models.toml
{{- template "switchboard.environment" . }}
{{- end }}

{{- define "switchboard.environment" }}
{{- range $name, $value := .Values.environment }}
            - name: {{ $name }}
              value: {{ printf "%q" $value }}
{{- end }}
{{- end }}
