// Keeps each field's water of the day and raises an alarm, once a day, when it
// passes the limit.
export default (event, { publish, state, config, log }) => {
  const { field } = event.params;
  const { liters, at } = event.data; // the meter's reading, seconds
  const day = Math.floor(at / 86400);
  const m = state.get(field) ?? { day, start: liters, alarmed: false };
  if (m.day !== day) Object.assign(m, { day, start: liters, alarmed: false });

  m.used = liters - m.start;
  if (m.used > config.daily_limit && !m.alarmed) {
    m.alarmed = true;
    log.warn(`${field} used ${m.used.toFixed(0)} l today`);
    publish(`farm/${field}/alarm`, { used: m.used, limit: config.daily_limit }, { qos: 1 });
  }
  state.set(field, m);
};
