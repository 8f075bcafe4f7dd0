// fires once for each minute, whatever kills the gateway.
export default (event, { state }) => {
  const s = state.get("fired") ?? { last: "", again: 0 };
  if (event.data.due <= s.last) s.again++;
  s.last = event.data.due;
  state.set("fired", s);
};
