export default (event, { publish, config }) => {
  const reading = Number(event.data);
  if (FAULT) throw new Error("the tank is where?");
  publish("level/now", { release: RELEASE, level: reading, unit: config.unit });
};
