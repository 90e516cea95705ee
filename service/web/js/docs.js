// Swagger UI, with an address that works behind a proxy that adds a path.
// @ts-ignore: a global of the vendored bundle
globalThis.SwaggerUIBundle({ url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });
