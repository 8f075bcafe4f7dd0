// Handlers in the form of AWS Lambda, and modules in the form of CommonJS. It is
// loaded for scripts that look like one.
const { host, call, args, meta, seconds } = globalThis.__headgate;

globalThis.module = { exports: {} };
globalThis.exports = globalThis.module.exports;
globalThis.require = (what) => {
  throw new TypeError(`require(${JSON.stringify(what)}): there are no packages here: bundle what the function needs into its file (esbuild --bundle --format=esm)`);
};
host(call.config);
const config = JSON.parse(args[0]);
globalThis.process = Object.freeze({
  env: Object.freeze(Object.fromEntries(Object.entries(config).map(([k, v]) => [k, typeof v === "string" ? v : JSON.stringify(v)]))),
});

// gatewayEvent is an HTTP request as API Gateway hands it to Lambda: payload
// format 2.0, with the fields of 1.0 beside it.
function gatewayEvent(event) {
  const r = event.request;
  const data = event.bytes();
  const text = event.text();
  const binary = text.includes("\ufffd");
  const body = data.length === 0 ? undefined : binary ? btoa(String.fromCharCode(...data)) : text;
  const query = r.queryString === "" ? undefined : r.query;
  return {
    version: "2.0", routeKey: "$default", rawPath: r.path, rawQueryString: r.queryString, headers: r.headers,
    queryStringParameters: query, pathParameters: event.params, body, isBase64Encoded: binary,
    requestContext: {
      requestId: event.id, stage: "$default", time: event.time, timeEpoch: Date.parse(event.time),
      http: { method: r.method, path: r.path, protocol: "HTTP/1.1", sourceIp: r.remote, userAgent: r.headers["user-agent"] ?? "" },
    },
    httpMethod: r.method, path: r.path, resource: r.path,
  };
}

const lambda = (f) => (event, ctx) => {
  const input = event.request !== undefined ? gatewayEvent(event) : event.data;
  const context = Object.assign(Object.create(ctx), {
    functionName: meta("function"), functionVersion: meta("version"), awsRequestId: event.id,
    invokedFunctionArn: `arn:headgate:function:${meta("function")}`, logGroupName: meta("function"), logStreamName: meta("version"),
    callbackWaitsForEmptyEventLoop: true,
    getRemainingTimeInMillis: () => Number(meta("remaining_ms")),
  });
  if (f.length < 3) return f(input, context);
  return new Promise((resolve, reject) => {
    const r = f(input, context, (error, value) => (error ? reject(error) : resolve(value)));
    if (typeof r?.then === "function") r.then(resolve, reject);
  });
};

// adapt finds the handler of a module whose default export is none.
globalThis.__headgate.adapt = (exports) => {
  const m = globalThis.module.exports;
  const plain = [m, m?.default, m?.handle].find((f) => typeof f === "function");
  const handler = [exports.handler, exports.default?.handler, m?.handler].find((f) => typeof f === "function");
  return plain ?? (handler && lambda(handler));
};
