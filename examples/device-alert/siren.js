// Starts with the dead letter of an alert that could not be told: keeps the
// alert, and makes noise. Who comes and has read them says so on
// site/siren/ack.
export default (event, { state, publish }) => {
  if (event.type !== "io.headgate.function.failed") {
    for (const key of state.list("kept/")) state.delete(key);
    publish("site/siren", { on: false }, { qos: 1, retain: true });
    return;
  }
  const { error, event: given } = event.data;
  const { machine, what, detail, since } = given.data;
  state.set(`kept/${since}`, { machine, what, detail, error });
  publish("site/siren", { on: true, machine, what, detail }, { qos: 1, retain: true });
};
