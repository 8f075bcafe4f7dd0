const same = (what, got, want) => {
  if (JSON.stringify(got) !== JSON.stringify(want)) throw new Error(`${what}: ${JSON.stringify(got)}`);
};
const code = (f) => {
  try {
    f();
  } catch (e) {
    return e.code;
  }
};

export default async function (event, { state, config, publish, enqueue, invoke, metric, log, params, secret, now }) {
  same("input", event.data.value, -275);
  same("text", [event.text(), event.bytes()[0]], ['{"value": -27.5e1}', 123]);
  same("params", [event.params, params], [{ field: "3" }, { field: "3" }]);
  same("meta", [event.meta("nothing"), event.meta("params.field"), event.id], [undefined, "3", undefined]);
  same("config", config, { mode: "on", target: 32 });
  same("missing", state.get("missing"), undefined);
  same("denied", code(() => state.get("other:x")), "DENIED");
  await null;
  state.set("runs", state.get("runs") + 1);
  state.set("soil-1", 1, { ttl: "1m" });
  state.delete("old");
  same("own write", state.get("runs"), 42);
  publish("farm/3/valve", "open", { qos: 1, retain: true, expiry: "1m30s" });
  same("publish", code(() => publish("secret/x", "")), "DENIED");
  enqueue("jobs", { a: 1 }, { delay: 5 });
  invoke("other", "hi");
  same("secret", [secret("k"), secret("unset"), code(() => secret("other"))], ["s3cret", undefined, "DENIED"]);
  same("now", now(), new Date().getTime());
  metric("moisture", 27.5);
  log.info("conform");
  return state.list().join(" ") + " ";
}
