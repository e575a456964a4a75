SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
  // Otherwise the page asks a service on the internet to validate the document.
  validatorUrl: null,
});
