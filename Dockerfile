# docker build -t digit_recognizer . && docker run -p 8890:8890 digit_recognizer
FROM node:24.20.0-bookworm-slim@sha256:ba849c60be29959425b8734d57b8b4b7d56f98edd9504c9af091d5281095a71e AS build
WORKDIR /app
ENV ONNXRUNTIME_NODE_INSTALL=skip
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY . .
RUN npx tsc && find . -path ./node_modules -prune -o -name '*.ts' -exec rm {} +
RUN npm prune --omit=dev --ignore-scripts \
  # an optional peer dependency of valibot, used only for types
  && rm -rf node_modules/typescript node_modules/@typescript \
  # onnxruntime-node ships the binaries of every platform: keep this one's
  && find node_modules/onnxruntime-node/bin/napi-v6 -mindepth 2 -maxdepth 2 ! -path "*/linux/$(node -p process.arch)" -exec rm -r {} + \
  # from the Hub client: types, sources and the browser build
  && rm -rf node_modules/@huggingface/tasks node_modules/@huggingface/*/src node_modules/@huggingface/hub/dist/browser \
  && find node_modules/swagger-ui-dist -type f ! -name package.json ! -name LICENSE ! -name swagger-ui.css ! -name swagger-ui-bundle.js -delete \
  && find node_modules -type d \( -name test -o -name tests -o -name benchmarks -o -name docs \) -prune -exec rm -r {} + \
  && find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*.md' \) ! -iname 'licen*' -delete

FROM node:24.20.0-bookworm-slim@sha256:ba849c60be29959425b8734d57b8b4b7d56f98edd9504c9af091d5281095a71e
LABEL org.opencontainers.image.title="onnxpress" \
      org.opencontainers.image.description="Serve one ONNX image classifier over HTTP" \
      org.opencontainers.image.licenses="MIT" \
      com.amazonaws.sagemaker.capabilities.accept-bind-to-port="true"
WORKDIR /app
# Smaller heap limits. V8's new space stays at 8 MB (Node 24 lets it grow to 64): 4 MB would cost 6 to 8% of the rate,
# and save nothing under load. The malloc thresholds, and two arenas, return the memory of large bodies to the system.
ENV NODE_ENV=production HOST=0.0.0.0 ORT_DISABLE_TELEMETRY=1 NODE_OPTIONS=--max-semi-space-size=8 \
    MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=131072 MALLOC_TRIM_THRESHOLD_=131072
COPY --from=build /app .
# the user `node`, by number, so that Kubernetes can check it is not root
USER 1000
EXPOSE 8890
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["node", "lib/process/healthcheck.js"]
# arguments go to the server: docker run IMAGE /my/model, IMAGE --describe, IMAGE serve (SageMaker)
ENTRYPOINT ["node", "server.js"]
