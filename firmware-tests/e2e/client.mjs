// Drives a gateway with mqtt.js. The test names the addresses and credentials
// in the environment; this ends with 0 when everything held, and says what did
// not otherwise.
import assert from "node:assert/strict";
import mqtt from "mqtt";

const { TCP, WS, NAME, PASSWORD } = process.env;

const connect = (url, options = {}) =>
  mqtt.connectAsync(url, { clientId: NAME, username: NAME, password: PASSWORD, reconnectPeriod: 0, ...options });

const next = (client, topic) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`nothing on ${topic} within 10 s`)), 10_000);
    const listen = (t, payload, packet) => {
      if (t !== topic) return;
      clearTimeout(timer);
      client.off("message", listen);
      resolve({ payload, packet });
    };
    client.on("message", listen);
  });

const roundTrip = async (url, protocolVersion, qos) => {
  const client = await connect(url, { protocolVersion });
  await client.subscribeAsync("js/out/#", { qos });
  const topic = `js/out/${protocolVersion}`;
  const answer = next(client, topic);
  await client.publishAsync(`js/in/${protocolVersion}`, JSON.stringify({ qos, url }), { qos });
  const { payload } = await answer;
  assert.deepEqual(JSON.parse(payload), { echo: { qos, url } });
  await client.endAsync();
};

for (const url of [TCP, WS])
  for (const version of [4, 5])
    for (const qos of [0, 1, 2]) await roundTrip(url, version, qos);
console.log("function round trips over TCP and WebSocket, 3.1.1 and 5.0, QoS 0 to 2");

{
  const client = await connect(TCP, { protocolVersion: 5 });
  await client.publishAsync("js/out/retained", "kept", { retain: true, qos: 1 });
  const answer = next(client, "js/out/retained");
  await client.subscribeAsync("js/out/retained", { qos: 1, properties: { subscriptionIdentifier: 7 } });
  const { payload, packet } = await answer;
  assert.equal(payload.toString(), "kept");
  assert.equal(packet.retain, true);
  assert.equal(packet.properties.subscriptionIdentifier, 7);
  await client.publishAsync("js/out/retained", "", { retain: true, qos: 1 });
  await client.endAsync();
  console.log("retained message with a subscription identifier");
}

{
  const properties = { responseTopic: "js/out/reply", correlationData: Buffer.from("42"), userProperties: { unit: "%" }, contentType: "text/plain" };
  const client = await connect(WS, { protocolVersion: 5 });
  await client.subscribeAsync("js/out/props", { qos: 2 });
  const answer = next(client, "js/out/props");
  await client.publishAsync("js/out/props", "27", { qos: 2, properties });
  const { packet } = await answer;
  assert.equal(packet.properties.responseTopic, "js/out/reply");
  assert.equal(packet.properties.correlationData.toString(), "42");
  assert.equal(packet.properties.userProperties.unit, "%");
  assert.equal(packet.properties.contentType, "text/plain");
  await client.endAsync();
  console.log("request/response and user properties");
}

{
  const client = await connect(TCP, { protocolVersion: 5 });
  await assert.rejects(client.publishAsync("elsewhere/x", "no", { qos: 1 }), (e) => e.code === 0x87);
  const granted = await client.subscribeAsync("#", { qos: 1 }).catch((e) => [{ qos: 0x87, error: e }]);
  assert.ok(granted[0].qos >= 0x80, "a subscription to everything was granted");
  await client.endAsync();
  console.log("what no filter allows is refused with 0x87");
}

{
  // Three messages, two events: the second message repeats the first's id.
  const client = await connect(TCP, { protocolVersion: 5 });
  await client.subscribeAsync("js/out/ce", { qos: 1 });
  const seen = [];
  client.on("message", (_, payload) => seen.push(JSON.parse(payload).echo));
  const last = new Promise((resolve) => client.on("message", (_, payload) => JSON.parse(payload).echo === 3 && resolve()));
  for (const [n, id] of [[1, "a"], [2, "a"], [3, "b"]]) {
    const userProperties = { specversion: "1.0", id, source: "/probe", type: "reading" };
    await client.publishAsync("js/in/ce", String(n), { qos: 1, properties: { userProperties } });
  }
  await last;
  assert.deepEqual(seen, [1, 3]);
  await client.endAsync();
  console.log("a repeated CloudEvents id is one event");
}

await assert.rejects(connect(TCP, { password: "wrong" }), /Not authorized|bad user name|Connection refused/i);
console.log("a wrong password is refused");
