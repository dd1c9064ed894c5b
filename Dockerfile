FROM node:24-bookworm-slim AS build
WORKDIR /app
ENV ONNXRUNTIME_NODE_INSTALL=skip
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY . .
RUN npx tsc && rm -f ./*.ts lib/*.ts protocols/*.ts openapi/*.ts && npm prune --omit=dev --ignore-scripts \
  # the runtime's package holds every platform's binaries: keep this one's
  && cd node_modules/onnxruntime-node/bin/napi-v6 \
  && find . -mindepth 2 -maxdepth 2 ! -path "./linux/$(node -p process.arch)" -exec rm -r {} +

FROM node:24-bookworm-slim
WORKDIR /app
# memory that large bodies needed goes back to the system: with these, and without more arenas than two
ENV NODE_ENV=production HOST=0.0.0.0 ORT_DISABLE_TELEMETRY=1 NODE_OPTIONS=--max-semi-space-size=1 \
    MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=131072 MALLOC_TRIM_THRESHOLD_=131072
COPY --from=build /app .
USER node
EXPOSE 8890
STOPSIGNAL SIGTERM
CMD ["node", "server.js"]
