// Opens a field's valve when its soil is too dry, closes it when it is wet
// enough, and renews the valve's lease in between.
export default (event, { publish, state, config }) => {
  const { field } = event.params;
  const { moisture, at } = event.data; // %, seconds
  const target = config.targets[field] ?? config.target;
  const key = `valve/${field}`;
  const until = state.get(key) ?? 0; // the open valve's lease; 0 is closed

  const thirsty = moisture < target + (until ? config.band : -config.band);
  if (thirsty && until - at < config.lease / 2) {
    publish(`farm/${field}/valve`, { open: true, lease: config.lease }, { qos: 1 });
    state.set(key, at + config.lease);
  } else if (!thirsty && until) {
    publish(`farm/${field}/valve`, { open: false }, { qos: 1 });
    state.delete(key);
  }
};
