// Swagger UI is a classic script that leaves this name behind
const ui = globalThis.SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#api',
  deepLinking: true,
  tryItOutEnabled: true,
  docExpansion: 'none',
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  onComplete() {
    // our own routes are open, and the first is ready to be tried; other protocols' are closed
    ui.layoutActions.show(['operations-tag', 'onnxpress'], true)
    if (!location.hash) ui.layoutActions.show(['operations', 'onnxpress', 'post_predict'], true)
  },
})
