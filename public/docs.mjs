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
    if (location.hash) return // Swagger UI opens what it names
    // our own routes are open, and the first is ready to be tried; other protocols' are closed
    ui.layoutActions.show(['operations-tag', 'onnxpress'], true)
    ui.layoutActions.show(['operations', 'onnxpress', 'post_predict'], true)
  },
})
